# The NixOS module of Aegis. units.nix defines the two units.
#
# This module differs from the original one in three ways. The user has no home
# directory, because the service writes nothing. No shell script wraps the program,
# because its flags are enough. A socket unit holds the listener, so that a restart
# loses no scrape, Aegis can listen on an address before its interface exists, and
# the service needs no network.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  cfg = config.within.services.aegis;

  address = (import ./address.nix { inherit lib; }).parseHostport cfg.hostport;

  units = import ./units.nix {
    exe = lib.getExe cfg.package;
    inherit (cfg) hostport sockdir;
    allow = cfg.allowedScrapers;
    targetsFile = if cfg.targets == { } then null else "/etc/${targetsFile}";
    inherit (cfg) webConfigFile;
    sockets = lib.concatMap (target: lib.optional (target.socket != null) target.socket) (
      lib.attrValues cfg.targets
    );
  };

  targetsFile = "aegis/targets.yml";

  # JSON is YAML. Options that are not set are left out.
  targets = builtins.toJSON {
    targets = lib.mapAttrs (
      _: target:
      lib.filterAttrs (_: value: value != null) (
        target
        // {
          enabled = if target.enabled then null else false;
          labels = if target.labels == { } then null else target.labels;
        }
      )
    ) cfg.targets;
  };

  # Lets users override these settings, for example in
  # systemd.services.aegis.serviceConfig, without mkForce.
  overridable = lib.mapAttrs (_: lib.mkDefault);

  settingsOf =
    socket:
    builtins.hashString "sha256" (
      builtins.toJSON { inherit (config.systemd.sockets.${socket}) listenStreams socketConfig; }
    );

  exporters = lib.filterAttrs (_: exporter: exporter.enable) cfg.exporters;
in
{
  imports = [ ./module-checks.nix ];

  options.within.services.aegis = {
    enable = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = ''
        Lets a Prometheus on another machine scrape the services of this machine that
        listen on Unix sockets. `GET /NAME` on {option}`hostport` becomes
        `GET /metrics` on `NAME.sock` in {option}`sockdir`.

        No other option is required. The module creates a socket unit `aegis.socket`,
        a hardened service `aegis.service` that starts with the first scrape, a user
        `aegis`, a group `within`, and the directory. To change the units, set their
        `serviceConfig` or `socketConfig`; `mkForce` is not needed:

        ```nix
        systemd.services.aegis.serviceConfig.MemoryMax = "1G";
        ```
      '';
    };

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "aegis.packages.\${system}.default";
      description = ''
        The package of Aegis. Its program must be statically linked, because the
        hardened service cannot execute anything else, so it cannot run a loader.
      '';
    };

    hostport = mkOption {
      type = types.str;
      default = "[::1]:31337";
      example = "[fda2::1]:31337";
      description = ''
        The address and port to listen on. Only a Prometheus on this host can reach
        the default; for a Prometheus on another host, use the address of this host
        in the tunnel. Write an IPv6 address in brackets. `[::]:31337` accepts IPv4
        too. Host names are not accepted, because their address could change.

        The address may belong to an interface that does not exist yet, such as a
        WireGuard tunnel that comes up after boot.
      '';
    };

    sockdir = mkOption {
      type = types.str;
      default = "/srv/within/run";
      example = "/run/metrics";
      description = ''
        The directory of sockets. If it does not exist, the module creates it with
        mode 0770, owner root and group within. An existing directory is not changed.
        To choose another mode, set your own tmpfiles rule, which takes precedence:

        ```nix
        systemd.tmpfiles.rules = [ "d /srv/within/run 0750 root within" ];
        ```

        It may also be mounted later. The service cannot see /home, /root, /tmp and
        /var/tmp, so the directory must not be there unless you relax the hardening of
        the service. It can never be in /run/user. If it is in /var, the module makes
        /var visible to the service.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Opens the port of {option}`hostport` in the firewall, on every interface.
        Everybody who reaches it can then read all metrics, so prefer
        {option}`firewallInterfaces`, or list your scrapers in
        {option}`allowedScrapers`.
      '';
    };

    firewallInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "wg0" ];
      description = ''
        Opens the port of {option}`hostport` in the firewall, only on these
        interfaces.
      '';
    };

    allowedScrapers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "10.100.0.1"
        "fda2::/16"
      ];
      description = ''
        The addresses and prefixes that may connect; if empty, every address may.
        The kernel drops packets from other addresses (`IPAddressDeny=` on the socket
        unit) if it supports cgroups with BPF. Aegis closes any connection that still
        gets through, counts it in `aegis_rejected_connections_total`, and logs one a
        minute.

        This host is not included automatically. To connect from it too, add `"::1"`
        and `"127.0.0.1"`.
      '';
    };

    targets = mkOption {
      type = types.attrsOf (types.submodule ./target.nix);
      default = { };
      example = lib.literalExpression ''
        {
          billing.path = "/internal/metrics";
          rpm-ostree = {
            socket = "/run/rpm-ostreed.promsock";
            protocol = "raw";
          };
        }
      '';
      description = ''
        Settings for individual targets. A target that works without settings does
        not need an entry. A change reloads Aegis and does not restart it.
      '';
    };

    webConfigFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/etc/aegis/web.yml";
      description = ''
        A file that turns on TLS, client certificates or passwords, in the
        [format](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md)
        of every Prometheus exporter. The user `aegis` must be able to read it and the
        files that it names. They must not be in /var or /home, which the service
        cannot see. To use a key from there, let systemd pass it to the service:

        ```nix
        systemd.services.aegis.serviceConfig.LoadCredential = [
          "key.pem:/var/lib/acme/example.org/key.pem"
        ];
        ```

        In the file, its path is then `/run/credentials/aegis.service/key.pem`.
        systemd copies the key only when the service starts, so after a renewal run
        `systemctl try-restart aegis`.
      '';
    };

    exporters = lib.genAttrs (import ./exporters.nix) (name: {
      enable = mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = ''
          Runs NixOS' {option}`services.prometheus.exporters.${name}` on the Unix
          socket `${name}.sock` in {option}`sockdir` instead of a TCP port, so that
          Prometheus scrapes it through Aegis as `GET /${name}`. Its other options work
          as before:

          ```nix
          within.services.aegis.exporters.${name}.enable = true;
          services.prometheus.exporters.${name}.extraFlags = [ "--log.level=warn" ];
          ```
        '';
      };
    });
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        users.users.aegis = {
          isSystemUser = true;
          group = "within";
        };
        users.groups.within = { };

        # systemd-tmpfiles uses the first rule for a path, in the order of file names,
        # so "zz" lets any other rule win. A colon means: only when creating it.
        systemd.tmpfiles.settings.zz-aegis.${cfg.sockdir}.d = {
          mode = ":0770";
          user = ":root";
          group = ":within";
        };

        systemd.sockets.aegis = units.socket // {
          socketConfig = overridable units.socket.socketConfig;
        };
        systemd.services.aegis = units.service // {
          serviceConfig = overridable units.service.serviceConfig;
          # Makes a switch restart only the service. By default, NixOS would close the
          # socket when the switch begins and open it again when the switch ends.
          stopIfChanged = false;
          reloadTriggers = lib.optional (cfg.targets != { }) targets;
        };
        environment.etc = lib.mkIf (cfg.targets != { }) { ${targetsFile}.text = targets; };
        environment.systemPackages = [ cfg.package ]; # for aegis check

        # With stopIfChanged = false, NixOS does not restart the socket when its
        # settings change, so this unit does.
        systemd.services.aegis-rebind = {
          description = "Restart aegis.socket after its settings change";
          wantedBy = [ "multi-user.target" ];
          after = [ "aegis.socket" ];
          before = [ "aegis.service" ];
          environment.SETTINGS = settingsOf "aegis";
          stopIfChanged = false;
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            RuntimeDirectory = "aegis-rebind";
            RuntimeDirectoryPreserve = true;
          };
          script = ''
            cd "$RUNTIME_DIRECTORY"
            if [[ -e settings && $(< settings) != "$SETTINGS" ]]; then
              systemctl --no-block try-restart aegis.socket
            fi
            printf '%s\n' "$SETTINGS" > settings
          '';
        };

        networking.firewall = lib.mkIf (address != null) {
          allowedTCPPorts = lib.mkIf cfg.openFirewall [ address.port ];
          interfaces = lib.genAttrs cfg.firewallInterfaces (_: {
            allowedTCPPorts = [ address.port ];
          });
        };
      }
      {
        services.prometheus.exporters = lib.mapAttrs (_: _: {
          enable = true;
          extraFlags = [ "--web.systemd-socket" ];
        }) exporters;

        systemd.sockets = lib.mapAttrs' (
          name: _:
          lib.nameValuePair "prometheus-${name}-exporter" {
            description = "Prometheus ${name} exporter socket";
            wantedBy = [ "sockets.target" ];
            listenStreams = [ "${cfg.sockdir}/${name}.sock" ];
            socketConfig = overridable {
              SocketGroup = "within";
              SocketMode = "0660";
              # A leftover socket would be a target that fails.
              RemoveOnStop = true;
            };
          }
        ) exporters;

        systemd.services = lib.mapAttrs' (
          name: _:
          lib.nameValuePair "prometheus-${name}-exporter" rec {
            requires = [ "prometheus-${name}-exporter.socket" ];
            after = requires;
            # NixOS restarts a changed socket only together with its service.
            restartTriggers = [ (settingsOf "prometheus-${name}-exporter") ];
          }
        ) exporters;
      }
    ]
  );
}
