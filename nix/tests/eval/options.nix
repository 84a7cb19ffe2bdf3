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
        systemd = removeAttrs config.systemd [ "package" ];
        inherit (config)
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
        mode = ":2770";
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

  # The flake's module uses the flake's package, or builds it with the user's nixpkgs if the
  # flake does not build it for the system. It can be imported twice.
  testFlakeModule = {
    expr =
      let
        built = outPath: {
          type = "derivation";
          name = "aegis";
          inherit outPath;
          meta.mainProgram = "aegis";
        };
        module =
          packages:
          import ../../flake-module.nix {
            inherit packages;
            overlays.default = _: _: { aegis = built "/nixpkgs"; };
          };
        executes =
          packages:
          (unit
            (evaluate [
              (module packages)
              (module packages)
              { within.services.aegis.enable = true; }
            ]).config
          ).ExecStart;
      in
      [
        (executes { x86_64-linux.default = built "/flake"; })
        (executes { })
      ];
    expected = [
      "/flake/bin/aegis -sockdir /srv/within/run"
      "/nixpkgs/bin/aegis -sockdir /srv/within/run"
    ];
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
        file = config.environment.etc."aegis/targets.yml".source;
        triggers = config.systemd.services.aegis.reloadTriggers;
      in
      {
        inherit (unit config) ExecStart TemporaryFileSystem;
        reloads = lib.head triggers == "${file}";
        check = lib.replaceStrings [ "${file}" ] [ "FILE" ] (lib.last triggers).text;
        file = builtins.fromJSON file.text;
      };
    expected = {
      ExecStart = "/usr/local/bin/aegis -sockdir /srv/within/run -config.file /etc/aegis/targets.yml";
      TemporaryFileSystem = "/var:ro";
      check = ''
        /usr/local/bin/aegis check -syntax-only -config.file FILE
        touch $out'';
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

  # The line in an error message is the line of a key.
  testTargetsFile = {
    expr =
      (enabled {
        targets = {
          "x\"y" = { };
          billing = {
            labels.team = "a\nb";
            allow.addresses = [
              "::1"
              "10.100.0.1"
            ];
          };
        };
      }).environment.etc."aegis/targets.yml".source.text;
    expected = ''
      {
        "targets": {
          "billing": {
            "allow": {
              "addresses": ["::1","10.100.0.1"],
              "certificates": []
            },
            "labels": {
              "team": "a\nb"
            }
          },
          "x\"y": {}
        }
      }
    '';
  };

  # The unit does not hide /var if a target's socket is there.
  testTargetInVar = {
    expr = (unit (enabled { targets.x.socket = "/var/lib/x/x.sock"; })) ? TemporaryFileSystem;
    expected = false;
  };

  # The group may connect to io.systemd.Journal.
  testVarlinkdir = {
    expr = {
      inherit (unit (enabled { varlinkdir = "/run/systemd/report"; })) ExecStart SupplementaryGroups;
      default = (unit default) ? SupplementaryGroups;
      added =
        (unit (
          with'
            {
              enable = true;
              varlinkdir = "/run/systemd/report";
            }
            { systemd.services.aegis.serviceConfig.SupplementaryGroups = [ "www-data" ]; }
        )).SupplementaryGroups;
    };
    expected = {
      ExecStart = "/usr/local/bin/aegis -sockdir /srv/within/run -varlinkdir /run/systemd/report";
      SupplementaryGroups = [ "systemd-journal" ];
      default = false;
      added = [
        "systemd-journal"
        "www-data"
      ];
    };
  };

  testWebConfigFile = {
    expr = map (webConfigFile: (unit (enabled { inherit webConfigFile; })).ExecStart) [
      "/etc/aegis/web.yml"
      "/etc/aegis/my web.yml"
      "%d/web.yml"
      ./options.nix
      "/nix/store/xxx-web.yml"
    ];
    expected = map (arg: "/usr/local/bin/aegis -sockdir /srv/within/run -web.config.file ${arg}") [
      "/etc/aegis/web.yml"
      ''"/etc/aegis/my web.yml"''
      "%d/web.yml"
      "/etc/aegis/web.yml"
      "/etc/aegis/web.yml"
    ];
  };

  # A file that NixOS writes reloads Aegis when it changes, and is checked when the system is
  # built.
  testWebConfigFileOfNixos =
    let
      triggers =
        webConfigFile: web:
        map (trigger: lib.head (lib.splitString "\n" (trigger.text or trigger)))
          (with' {
            enable = true;
            inherit webConfigFile;
          } { environment.etc."aegis/web.yml" = web; }).systemd.services.aegis.reloadTriggers;
      path = "/etc/aegis/web.yml";
      stored = "/nix/store/xxx-web.yml";
    in
    {
      expr = {
        changes = triggers path { text = "a"; } != triggers path { text = "b"; };
        inTheStore = triggers stored { };
        inEtc = triggers path { source = stored; };
        # The build cannot read it.
        linked = triggers path { source = "/run/secrets/web.yml"; };
        elsewhere = map (file: triggers file { source = stored; }) [
          "/run/web.yml"
          "%d/web.yml"
        ];
      };
      expected = rec {
        changes = true;
        inTheStore = [
          stored
          "/usr/local/bin/aegis check -syntax-only -web.config.file ${stored}"
        ];
        inEtc = inTheStore;
        linked = [ "/run/secrets/web.yml" ];
        elsewhere = [
          [ ]
          [ ]
        ];
      };
    };

  # The unit does not hide /var if the web file is there.
  testWebConfigFileInVar = {
    expr = (unit (enabled { webConfigFile = "/var/lib/aegis/web.yml"; })) ? TemporaryFileSystem;
    expected = false;
  };

  # systemd does not expand specifiers and variables in flags.
  testFlags = {
    expr =
      (unit (enabled {
        logLevel = "debug";
        extraFlags = [
          "-web.external-url=https://host.example.org/aegis/"
          ''-x=50% $a "b"''
        ];
      })).ExecStart;
    expected = ''/usr/local/bin/aegis -sockdir /srv/within/run -log.level debug -web.external-url=https://host.example.org/aegis/ "-x=50%% $$a \"b\""'';
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
