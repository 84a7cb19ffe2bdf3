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
    targetsFile = if cfg.targets == { } then null else "/etc/${targetsFile}";
    webConfigFile = if webFileInStore then "/etc/${webFile}" else cfg.webConfigFile;
    sockets = lib.concatMap (target: lib.optional (target.socket != null) target.socket) (
      lib.attrValues cfg.targets
    );
  };

  # The program itself checks a file when the system is built, unless it is built for
  # another kind of machine.
  check =
    arguments:
    lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
      ${lib.getExe cfg.package} check -syntax-only ${arguments}
    '';

  targetsFile = "aegis/targets.yml";
  targets = pkgs.writeTextFile {
    name = "aegis-targets.yml";
    text = import ./targets-file.nix { inherit lib; } cfg.targets;
    checkPhase = check ''-config.file "$target"'';
  };

  # A web file of the store is linked in /etc, so that a change reloads Aegis instead of
  # restarting it.
  webFile = "aegis/web.yml";
  webFileInStore = cfg.webConfigFile != null && import ./in-store.nix cfg.webConfigFile;
  web = pkgs.runCommand "aegis-web.yml" { } ''
    cp ${cfg.webConfigFile} $out
    ${check "-web.config.file $out"}
  '';

  # The files of environment.etc that Aegis reads.
  filesInEtc =
    lib.optional (cfg.targets != { }) targetsFile
    ++ lib.optional webFileInStore webFile
    ++ lib.optional (!webFileInStore && config.environment.etc ? ${hostWebFile}) hostWebFile;
  hostWebFile = lib.removePrefix "/etc/" (toString cfg.webConfigFile);

  # The sockets that aegis-rebind restarts.
  sockets = lib.filter (name: name == "aegis" || lib.hasPrefix "aegis-forward-" name) (
    lib.attrNames config.systemd.sockets
  );

  # Lets users override these settings, for example in
  # systemd.services.aegis.serviceConfig, without mkForce.
  overridable = lib.mapAttrs (_: lib.mkDefault);
in
{
  imports = [
    ./module-checks.nix
    ./module-exporters.nix
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
      type = types.nullOr (types.either types.path types.str);
      default = null;
      example = "/etc/aegis/web.yml";
      description = ''
        A file that turns on TLS, client certificates or passwords, in the
        [format](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md)
        of every Prometheus exporter.

        A string is the path of a file on the host; nothing of it is copied. The user
        `aegis` must be able to read it and the files that it names. A path of Nix, such
        as `./web.yml` or `pkgs.writeText "web.yml" "…"`, is copied to the Nix store,
        which everybody on the host can read, and linked as `/etc/aegis/web.yml`: it may
        name keys, but it should not contain hashes of weak passwords. A change to it, or
        to a file of {option}`environment.etc`, reloads Aegis.

        The service cannot see /home, and of /var only what the options name. To use a
        key from there, let systemd pass it to the service:

        ```nix
        systemd.services.aegis.serviceConfig.LoadCredential = [
          "cert.pem:/var/lib/acme/example.org/cert.pem"
          "key.pem:/var/lib/acme/example.org/key.pem"
        ];
        security.acme.certs."example.org".postRun = "systemctl try-restart aegis";
        ```

        In the file, the paths are then `/run/credentials/aegis.service/cert.pem` and
        `key.pem`; the file itself can be a credential too (`"%d/web.yml"`). systemd
        copies credentials only when the service starts, so that a reload keeps the old
        certificate; hence the restart, which loses no scrape. With systemd 260 or later
        and `serviceConfig.RefreshOnReload = "credentials"`, `systemctl reload aegis` is
        enough.
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
      socketConfig = overridable units.socket.socketConfig;
    };
    systemd.services.aegis = units.service // {
      serviceConfig = overridable units.service.serviceConfig;
      # Makes a switch restart only the service. By default, NixOS would close the socket
      # when the switch begins and open it again when the switch ends.
      stopIfChanged = false;
      reloadTriggers = map (name: config.environment.etc.${name}.source) filesInEtc;
    };
    environment.etc = {
      ${targetsFile} = lib.mkIf (cfg.targets != { }) { source = targets; };
      ${webFile} = lib.mkIf webFileInStore { source = web; };
    };
    environment.systemPackages = [ cfg.package ]; # for aegis check

    # NixOS restarts a changed socket only together with its service: not with
    # stopIfChanged = false, and not if the service is idle. So this unit does.
    systemd.services.aegis-rebind = {
      description = "Restart the sockets of Aegis whose settings have changed";
      wantedBy = [ "multi-user.target" ];
      after = map (name: "${name}.socket") sockets;
      before = [ "aegis.service" ];
      # Lines of a socket and a hash of its settings.
      environment.SETTINGS = pkgs.writeText "aegis-sockets" (
        lib.concatMapStrings (
          name: "${name}.socket ${import ./socket-settings.nix config.systemd.sockets.${name}}\n"
        ) sockets
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
