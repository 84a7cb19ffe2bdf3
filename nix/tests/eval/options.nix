# What each option changes in the configuration.
{
  enabled,
  evaluate,
  with',
  lib,
  ...
}:
let
  default = enabled { };
  unit = config: config.systemd.services.aegis.serviceConfig;
in
{
  testDisabledChangesNothing = {
    expr =
      let
        config = with' { } { };
      in
      {
        inherit (config)
          systemd
          users
          assertions
          warnings
          ;
        inherit (config.networking.firewall) allowedTCPPorts interfaces;
      };
    expected = {
      systemd = {
        services = { };
        sockets = { };
        tmpfiles.settings = { };
      };
      users = {
        groups = { };
        users = { };
      };
      assertions = [ ];
      warnings = [ ];
      allowedTCPPorts = [ ];
      interfaces = { };
    };
  };

  testEnableIsEnough = {
    expr = {
      inherit (default) users warnings;
      inherit (default.systemd) tmpfiles;
      inherit (default.networking.firewall) allowedTCPPorts interfaces;
      failing = lib.filter (a: !a.assertion) default.assertions;
    };
    expected = {
      users = {
        users.aegis = {
          isSystemUser = true;
          group = "within";
        };
        groups.within = { };
      };
      warnings = [ ];
      tmpfiles.settings.zz-aegis."/srv/within/run".d = {
        mode = ":0770";
        user = ":root";
        group = ":within";
      };
      allowedTCPPorts = [ ];
      interfaces = { };
      failing = [ ];
    };
  };

  # Other modules can add to the group.
  testGroupIsShared = {
    expr =
      (with' { enable = true; } {
        users.groups.within = {
          gid = 900;
          members = [ "nginx" ];
        };
      }).users.groups.within;
    expected = {
      gid = 900;
      members = [ "nginx" ];
    };
  };

  # The package of the service is also on the PATH, for aegis check.
  testPackage = {
    expr =
      let
        config = enabled {
          package = {
            type = "derivation";
            name = "other";
            outPath = "/other";
            meta.mainProgram = "aegis";
          };
        };
      in
      {
        inherit (unit config) ExecStart;
        packages = map (package: package.outPath) config.environment.systemPackages;
      };
    expected = {
      ExecStart = "/other/bin/aegis -sockdir /srv/within/run";
      packages = [ "/other" ];
    };
  };

  # The flake's module uses the flake's package and can be imported twice.
  testFlakeModule = {
    expr =
      let
        module = import ../../flake-module.nix {
          packages.x86_64-linux.default = {
            type = "derivation";
            name = "aegis-of-the-flake";
            outPath = "/flake";
            meta.mainProgram = "aegis";
          };
        };
        evaluated = evaluate [
          module
          module
          { within.services.aegis.enable = true; }
        ];
      in
      (unit evaluated.config).ExecStart;
    expected = "/flake/bin/aegis -sockdir /srv/within/run";
  };

  testHostport = {
    expr = (enabled { hostport = "10.100.0.2:9000"; }).systemd.sockets.aegis.listenStreams;
    expected = [ "10.100.0.2:9000" ];
  };

  # The settings of targets are in the targets file, and a change reloads Aegis.
  testTargets = {
    expr =
      let
        config = enabled {
          targets = {
            billing = {
              path = "/internal/metrics";
              timeout = "5s";
              labels.team = "money";
              allow.addresses = [ "10.100.0.1" ];
            };
            rpm-ostree = {
              socket = "/run/rpm-ostreed.promsock";
              protocol = "raw";
            };
            secret.enabled = false;
            plain = { };
          };
        };
        text = config.environment.etc."aegis/targets.yml".text;
      in
      {
        inherit (unit config) ExecStart TemporaryFileSystem;
        reloads = config.systemd.services.aegis.reloadTriggers == [ text ];
        file = builtins.fromJSON text;
      };
    expected = {
      ExecStart = "/usr/local/bin/aegis -sockdir /srv/within/run -config.file /etc/aegis/targets.yml";
      TemporaryFileSystem = "/var:ro";
      reloads = true;
      file.targets = {
        billing = {
          path = "/internal/metrics";
          timeout = "5s";
          labels.team = "money";
          allow = {
            addresses = [ "10.100.0.1" ];
            certificates = [ ];
          };
        };
        rpm-ostree = {
          socket = "/run/rpm-ostreed.promsock";
          protocol = "raw";
        };
        secret.enabled = false;
        plain = { };
      };
    };
  };

  # The unit does not hide /var if a target's socket is there.
  testTargetInVar = {
    expr = (unit (enabled { targets.x.socket = "/var/lib/x/x.sock"; })) ? TemporaryFileSystem;
    expected = false;
  };

  testWebConfigFile = {
    expr = (unit (enabled { webConfigFile = "/etc/aegis/web.yml"; })).ExecStart;
    expected = "/usr/local/bin/aegis -sockdir /srv/within/run -web.config.file /etc/aegis/web.yml";
  };

  testSockdir = {
    expr =
      let
        config = enabled { sockdir = "/run/metrics"; };
      in
      {
        inherit (unit config) ExecStart TemporaryFileSystem;
        directories = lib.attrNames config.systemd.tmpfiles.settings.zz-aegis;
      };
    expected = {
      ExecStart = "/usr/local/bin/aegis -sockdir /run/metrics";
      TemporaryFileSystem = "/var:ro";
      directories = [ "/run/metrics" ];
    };
  };

  # The unit does not hide /var if the directory is there. Nothing else changes.
  testSockdirInVar =
    let
      config = enabled { sockdir = "/var/lib/metrics"; };
      differs = lib.filterAttrs (name: value: (unit config).${name} or null != value) (unit default);
    in
    {
      expr = {
        differs = lib.attrNames differs;
        failing = lib.filter (a: !a.assertion) config.assertions;
      };
      expected = {
        differs = [
          "ExecStart"
          "TemporaryFileSystem"
        ];
        failing = [ ];
      };
    };

  testOpenFirewall = {
    expr =
      (enabled {
        hostport = "[::]:9000";
        openFirewall = true;
      }).networking.firewall;
    expected = {
      allowedTCPPorts = [ 9000 ];
      interfaces = { };
    };
  };

  testFirewallInterfaces = {
    expr =
      (enabled {
        hostport = "10.100.0.2:31337";
        firewallInterfaces = [
          "wg0"
          "wg1"
        ];
      }).networking.firewall;
    expected = {
      allowedTCPPorts = [ ];
      interfaces = {
        wg0.allowedTCPPorts = [ 31337 ];
        wg1.allowedTCPPorts = [ 31337 ];
      };
    };
  };

  testAllowedScrapers =
    let
      config = enabled {
        hostport = "[::]:31337";
        allowedScrapers = [
          "10.100.0.1"
          "fda2::/16"
        ];
      };
    in
    {
      expr = {
        inherit (unit config) ExecStart;
        inherit (config.systemd.sockets.aegis.socketConfig) IPAddressAllow IPAddressDeny;
      };
      expected = {
        ExecStart = "/usr/local/bin/aegis -sockdir /srv/within/run -allow 10.100.0.1,fda2::/16";
        IPAddressAllow = [
          "10.100.0.1"
          "fda2::/16"
        ];
        IPAddressDeny = "any";
      };
    };

  # Users can override settings without mkForce.
  testOverride = {
    expr =
      let
        config = with' { enable = true; } {
          systemd.services.aegis.serviceConfig.MemoryMax = "1G";
          systemd.sockets.aegis.socketConfig.FreeBind = false;
        };
      in
      {
        inherit (unit config) MemoryMax TasksMax;
        inherit (config.systemd.sockets.aegis.socketConfig) Backlog FreeBind;
      };
    expected = {
      MemoryMax = "1G";
      TasksMax = 256;
      Backlog = 4096;
      FreeBind = false;
    };
  };
}
