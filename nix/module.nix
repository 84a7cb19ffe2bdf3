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
    inherit (cfg)
      extraFlags
      hostport
      logLevel
      sockdir
      varlinkdir
      ;
    allow = cfg.allowedScrapers;
    targetsFile = if cfg.targets == { } then null else "/etc/aegis/targets.yml";
    # module-files.nix links a web file of the store to /etc.
    webConfigFile =
      if lib.hasPrefix builtins.storeDir (toString cfg.webConfigFile) then
        "/etc/aegis/web.yml"
      else
        cfg.webConfigFile;
    sockets = lib.concatMap (target: lib.optional (target.socket != null) target.socket) (
      lib.attrValues cfg.targets
    );
  };

  # The sockets that aegis-rebind restarts: this one, and those of module-exporters.nix.
  sockets = lib.filterAttrs (
    _: socket: lib.elem "aegis-rebind.service" (socket.before or [ ])
  ) config.systemd.sockets;

  settingsOf =
    socket:
    builtins.hashString "sha256" (builtins.toJSON { inherit (socket) listenStreams socketConfig; });

  # Lets users override these settings, for example in
  # systemd.services.aegis.serviceConfig, without mkForce.
  overridable = lib.mapAttrs (_: lib.mkDefault);
in
{
  imports = [
    ./module-checks.nix
    ./module-exporters.nix
    ./module-files.nix
  ];

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
        mode 2770, owner root and group within. The 2 (setgid) gives every socket in it
        the group within, so that a service can join with
        `SupplementaryGroups = [ "within" ]` and keep a group of its own for its other
        files. An existing directory is not changed; Aegis logs a warning if it is not
        setgid. To choose another mode, set your own tmpfiles rule, which takes
        precedence:

        ```nix
        systemd.tmpfiles.rules = [ "d /srv/within/run 2750 root within" ];
        ```

        It may also be mounted later. The service cannot see /home, /root, /tmp and
        /var/tmp, so the directory must not be there unless you relax the hardening of
        the service. It can never be in /run/user. If it is in /var, the module makes
        /var visible to the service.
      '';
    };

    varlinkdir = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/systemd/report";
      description = ''
        A directory of sockets on which services tell their metrics over Varlink, such as
        systemd's own since version 260. Each is scraped by its file name. The service
        joins the group systemd-journal, because only that may connect to
        io.systemd.Journal.
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

        This host is not included automatically. To connect from it too, add the address
        of {option}`hostport`.
      '';
    };

    logLevel = mkOption {
      type = types.nullOr (
        types.enum [
          "debug"
          "info"
          "warn"
          "error"
        ]
      );
      default = null;
      example = "debug";
      description = "The least severe messages to log; if not set, `info`.";
    };

    extraFlags = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "-web.external-url=https://host.example.org/aegis/" ];
      description = "More flags for `aegis serve`, for what has no option.";
    };
  };

  config = lib.mkIf cfg.enable {
    users.users.aegis = {
      isSystemUser = true;
      group = "within";
    };
    users.groups.within = { };

    # systemd-tmpfiles uses the first rule for a path, in the order of file names, so
    # "zz" lets any other rule win. A colon means: only when creating it.
    systemd.tmpfiles.settings.zz-aegis.${cfg.sockdir}.d = {
      mode = ":2770";
      user = ":root";
      group = ":within";
    };

    systemd.sockets.aegis = units.socket // {
      before = [ "aegis-rebind.service" ];
      socketConfig = overridable units.socket.socketConfig;
    };
    systemd.services.aegis = units.service // {
      serviceConfig = overridable units.service.serviceConfig // {
        # Only this group may connect to io.systemd.Journal. Groups that the user adds are
        # merged with it.
        SupplementaryGroups = lib.mkIf (cfg.varlinkdir != null) [ "systemd-journal" ];
      };
      # Makes a switch restart only the service. By default, NixOS would close the socket
      # when the switch begins and open it again when the switch ends.
      stopIfChanged = false;
    };
    environment.systemPackages = [ cfg.package ]; # for aegis check

    # NixOS restarts a changed socket only together with its service: not with
    # stopIfChanged = false, and not if the service is idle. So this unit does.
    systemd.services.aegis-rebind = {
      description = "Restart the sockets of Aegis whose settings have changed";
      wantedBy = [ "multi-user.target" ];
      before = [ "aegis.service" ];
      # Lines of a socket and a hash of its settings.
      environment.SETTINGS = pkgs.writeText "aegis-sockets" (
        lib.concatStrings (
          lib.mapAttrsToList (name: socket: "${name}.socket ${settingsOf socket}\n") sockets
        )
      );
      stopIfChanged = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        RuntimeDirectory = "aegis-rebind";
        # Not longer: the settings of a socket that is gone say nothing about a new one.
        RuntimeDirectoryPreserve = "restart";
      };
      script = ''
        cd "$RUNTIME_DIRECTORY"
        touch settings
        # Aegis 0.1 stored only the hash of aegis.socket.
        sed --in-place 's/^[^ ]*$/aegis.socket &/' settings
        while read -r socket hash; do
          if grep --quiet "^$socket " settings && ! grep --quiet "^$socket $hash\$" settings; then
            systemctl --no-block try-restart "$socket"
          fi
        done < "$SETTINGS"
        cat "$SETTINGS" > settings
      '';
    };

    networking.firewall = lib.mkIf (address != null) {
      allowedTCPPorts = lib.mkIf cfg.openFirewall [ address.port ];
      interfaces = lib.genAttrs cfg.firewallInterfaces (_: {
        allowedTCPPorts = [ address.port ];
      });
    };
  };
}
