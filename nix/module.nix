# Aegis on NixOS. What the two units say stands in units.nix.
#
# Where this departs from the original module: there is no home directory, since the
# service writes nothing; no shell script around the program, since its flags say it
# all; and a socket unit, so that a restart loses no scrape, an address can be bound
# before its interface exists, and the service needs no network at all.
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

  # JSON is YAML. What is not set is not said.
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

  # What is set in systemd.services.aegis.serviceConfig and the like takes the
  # place of Aegis' own without mkForce.
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
        Lets a Prometheus on another machine scrape the services of this one that
        listen on Unix sockets. `GET /NAME` on {option}`hostport` is `GET /metrics`
        on `NAME.sock` in {option}`sockdir`.

        Nothing else needs to be set. There is then a socket unit `aegis.socket`, a
        hardened service `aegis.service` that starts with the first scrape, a user
        `aegis`, a group `within`, and the folder. What stands in their
        `serviceConfig` and `socketConfig` can be set otherwise the usual way, without
        `mkForce`:

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
        The Aegis to run. Its program has to be linked statically: the service may
        run nothing else, and so no loader either.
      '';
    };

    hostport = mkOption {
      type = types.str;
      default = "[::1]:31337";
      example = "[fda2::1]:31337";
      description = ''
        The address and port to listen on. The default is for a Prometheus on this
        host; for one on another, give the address of the tunnel. An IPv6 address
        stands in brackets, `[::]:31337` takes IPv4 too, and a host name is not
        taken, for what it means could change.

        The address may belong to an interface that does not exist yet, such as a
        WireGuard tunnel that comes up after boot.
      '';
    };

    sockdir = mkOption {
      type = types.str;
      default = "/srv/within/run";
      example = "/run/metrics";
      description = ''
        The folder of sockets. Where there is none it is made, mode 0770, owner root,
        group within; one that exists is left as it is, and so is one that another
        tmpfiles rule makes, which may give it another mode:

        ```nix
        systemd.tmpfiles.rules = [ "d /srv/within/run 0750 root within" ];
        ```

        It may also be mounted later. The service sees no home and no temporary
        folder, so it cannot be under /home, /root, /tmp or /var/tmp unless the
        service's hardening is relaxed, nor under /run/user at all. Under /var the
        module does what is needed.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Opens the port of {option}`hostport` in the firewall, on every interface.
        Everyone who reaches it can read all metrics: prefer
        {option}`firewallInterfaces`, or name who may in {option}`allowedScrapers`.
      '';
    };

    firewallInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "wg0" ];
      description = ''
        Opens the port of {option}`hostport` in the firewall, on these interfaces
        only.
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
        The addresses and prefixes that may connect; none given, everyone who reaches
        the port. Aegis closes other connections at once, counts them in
        `aegis_refused_connections_total`, and logs one a minute; the kernel drops
        them even before that (`IPAddressDeny=` on the socket unit), where it has
        cgroups with BPF.

        This host itself is not implied. To scrape or to look from here too, add
        `"::1"` and `"127.0.0.1"`.
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
        What goes for single targets and cannot be known from the folder. A target
        that works as it is needs nothing here. A change reloads Aegis; it does not
        restart it.
      '';
    };

    webConfigFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/etc/aegis/web.yml";
      description = ''
        A file that turns on TLS, client certificates or passwords, in the
        [format](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md)
        of every Prometheus exporter. It and what it names must be readable for the
        user `aegis`, and not under /var or /home, which the service does not see. Keys
        from there are handed over by systemd:

        ```nix
        systemd.services.aegis.serviceConfig.LoadCredential = [
          "key.pem:/var/lib/acme/example.org/key.pem"
        ];
        ```

        and are `/run/credentials/aegis.service/key.pem` in the file.
      '';
    };

    exporters = lib.genAttrs (import ./exporters.nix) (name: {
      enable = mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = ''
          Runs NixOS' {option}`services.prometheus.exporters.${name}` on the Unix
          socket `${name}.sock` in {option}`sockdir` instead of a TCP port, so that it
          is scraped through Aegis as `GET /${name}`. Its other options are used as
          ever:

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

        # Of rules for the same path the one in the file that sorts first is taken,
        # so this one yields to any other. A colon: not for what exists already.
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
          # A new generation restarts the service only. By default NixOS would close
          # the socket at the beginning of the switch and open it at the end.
          stopIfChanged = false;
          reloadTriggers = lib.optional (cfg.targets != { }) targets;
        };
        environment.etc = lib.mkIf (cfg.targets != { }) { ${targetsFile}.text = targets; };
        environment.systemPackages = [ cfg.package ]; # for aegis check

        # And so a socket whose settings have changed has to be seen to here: NixOS
        # leaves it as it is, and it would be without a listener.
        systemd.services.aegis-rebind = {
          description = "Opens the socket of Aegis anew where its settings have changed";
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
            description = "Where Aegis asks the ${name} exporter for metrics";
            wantedBy = [ "sockets.target" ];
            listenStreams = [ "${cfg.sockdir}/${name}.sock" ];
            socketConfig = overridable {
              SocketGroup = "within";
              SocketMode = "0660";
              # A socket left behind would be a target that fails.
              RemoveOnStop = true;
            };
          }
        ) exporters;

        systemd.services = lib.mapAttrs' (
          name: _:
          lib.nameValuePair "prometheus-${name}-exporter" rec {
            requires = [ "prometheus-${name}-exporter.socket" ];
            after = requires;
            # NixOS opens a changed socket anew only together with its service.
            restartTriggers = [ (settingsOf "prometheus-${name}-exporter") ];
          }
        ) exporters;
      }
    ]
  );
}
