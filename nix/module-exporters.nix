# NixOS' exporters, and other programs that listen on TCP, as targets of Aegis.
#
# An exporter whose program accepts a listener from systemd runs on its socket and has no
# TCP port any more. Any other stays on loopback, and forward.nix brings its socket to
# its port.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mapAttrs mapAttrs' nameValuePair types;

  cfg = config.within.services.aegis;
  exporters = config.services.prometheus.exporters;

  inherit (import ./address.nix { inherit lib; }) parseHostport;

  wanted = lib.filterAttrs (_: exporter: exporter.enable) cfg.exporters;
  known = lib.intersectAttrs (import ./available-exporters.nix { inherit lib options; }) wanted;
  enabled = lib.attrNames (lib.filterAttrs (name: _: exporters.${name}.enable) known);

  isActivated = name: lib.elem name (import ./exporters.nix);
  activated = lib.filter isActivated enabled;
  forwarded = lib.filter (name: !isActivated name) enabled;

  unitOf = name: "prometheus-${name}-exporter";

  # Reports whether NixOS itself makes a socket unit for the exporter. It did for node in
  # April 2026, and may again. The flag is in the exporter's command line then, and may
  # not be there twice.
  isActivatedByNixos =
    name:
    lib.any (
      definition:
      definition.file != toString ./module-exporters.nix && definition.value ? ${unitOf name}
    ) options.systemd.sockets.definitionsWithLocations;

  # Where a forwarded exporter listens. Some have an IPv6 address without brackets.
  hostportOf =
    name:
    let
      inherit (exporters.${name}) listenAddress port;
      parsed = lib.findFirst (address: address != null) null (
        map (host: parseHostport "${host}:${toString port}") [
          listenAddress
          "[${listenAddress}]"
        ]
      );
      host = if parsed == null || parsed.wildcard then "127.0.0.1" else parsed.host;
    in
    "${host}:${toString port}";

  forwards = mapAttrs (
    name: hostport:
    import ./forward.nix {
      inherit name hostport;
      host = (parseHostport hostport).address;
      path = "${cfg.sockdir}/${name}.sock";
      proxy = "${config.systemd.package}/lib/systemd/systemd-socket-proxyd";
    }
  ) (validForwards // lib.genAttrs forwarded hostportOf);
  validForwards = lib.filterAttrs (_: hostport: parseHostport hostport != null) cfg.forward;

  # Lets users override settings without mkForce, and is stronger than the mkDefault of
  # NixOS' exporters.
  overridable = mapAttrs (_: lib.mkOverride 900);

  # The settings of every exporter behind Aegis: if it keeps crashing, its target is down
  # and comes back with it. Reaching a start limit would fail its socket unit too, and
  # the target would vanish.
  restarts = {
    startLimitIntervalSec = lib.mkOverride 900 0;
    serviceConfig = overridable { RestartSec = "1s"; };
  };
in
{
  imports = [ ./exporter-checks.nix ];

  options.within.services.aegis = {
    exporters = lib.mkOption {
      type = types.attrsOf (
        types.submodule {
          options.enable = lib.mkOption {
            type = types.bool;
            default = false;
            example = true;
            description = "Whether to serve the exporter through Aegis.";
          };
        }
      );
      default = { };
      example = lib.literalExpression "{ node.enable = true; }";
      description = ''
        Runs NixOS' {option}`services.prometheus.exporters.NAME` behind Aegis, so that
        Prometheus scrapes it as `GET /NAME`. Its other options work as before:

        ```nix
        within.services.aegis.exporters.node.enable = true;
        services.prometheus.exporters.node.enabledCollectors = [ "systemd" ];
        ```

        Some programs accept a listener from systemd: they listen on the socket `NAME.sock`
        in {option}`sockdir`, and on no TCP port any more. The others listen on loopback,
        and systemd's own proxy forwards their socket to their port.
      '';
    };

    forward = lib.mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        myapp = "127.0.0.1:9187";
      };
      description = ''
        Programs that listen on TCP, by target. `NAME.sock` in {option}`sockdir` leads to
        the address and port, with one hardened `systemd-socket-proxyd` for each, which
        exits while nobody scrapes. Settings such as another path are in
        {option}`targets`. Let the program listen on 127.0.0.1 alone and leave its port
        closed in the firewall, so that Aegis is the only way to it.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    services.prometheus.exporters = mapAttrs (
      name: _:
      {
        enable = true;
      }
      // (
        if isActivated name then
          { extraFlags = lib.mkIf (!isActivatedByNixos name) [ "--web.systemd-socket" ]; }
        else
          { listenAddress = lib.mkOverride 900 "127.0.0.1"; }
      )
    ) known;

    # Some exporters can serve their metrics at another path.
    within.services.aegis.targets =
      lib.genAttrs
        (lib.filter (name: exporters.${name}.telemetryPath or "/metrics" != "/metrics") enabled)
        (name: {
          path = lib.mkDefault exporters.${name}.telemetryPath;
        });

    systemd.sockets = lib.mkMerge [
      (lib.listToAttrs (
        map (
          name:
          nameValuePair (unitOf name) {
            description = "Prometheus ${name} exporter socket";
            wantedBy = [ "sockets.target" ];
            # Replaces the TCP port of a socket unit that NixOS makes.
            listenStreams = lib.mkForce [ "${cfg.sockdir}/${name}.sock" ];
            socketConfig = overridable (import ./socket-config.nix);
          }
        ) activated
      ))
      (mapAttrs' (
        name: { socket, ... }:
        nameValuePair "aegis-forward-${name}" (
          socket // { socketConfig = overridable socket.socketConfig; }
        )
      ) forwards)
    ];

    systemd.services = lib.mkMerge [
      (lib.genAttrs (map unitOf enabled) (_: restarts))
      (lib.genAttrs (map unitOf activated) (
        unit: {
          requires = [ "${unit}.socket" ];
          after = [ "${unit}.socket" ];
          # NixOS restarts a changed socket only together with its service.
          restartTriggers = [ (import ./socket-settings.nix config.systemd.sockets.${unit}) ];
        }
      ))
      (mapAttrs' (
        name: { service, ... }:
        nameValuePair "aegis-forward-${name}" (
          service // { serviceConfig = overridable service.serviceConfig; }
        )
      ) forwards)
    ];
  };
}
