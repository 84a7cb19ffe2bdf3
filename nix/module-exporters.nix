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
  inherit (lib)
    concatMap
    mapAttrs
    mapAttrs'
    mkOverride
    nameValuePair
    optional
    optionals
    types
    ;
  inherit (lib.strings) escapeNixIdentifier;
  inherit (import ./address.nix { inherit lib; }) parseHostport;
  inherit (import ./target-problems.nix { inherit lib; }) nameProblem;
  facts = import ./exporter-facts.nix;

  # What an error of NixOS names, such as that it does not have the exporter.
  file = "within.services.aegis.exporters";

  cfg = config.within.services.aegis;
  option = "within.services.aegis";
  exporters = config.services.prometheus.exporters;
  optionOf = name: "services.prometheus.exporters.${escapeNixIdentifier name}";

  wanted = lib.attrNames (lib.filterAttrs (_: exporter: exporter.enable) cfg.exporters);
  # Another module may have turned some off.
  enabled = lib.filter (name: exporters.${name}.enable) wanted;
  isActivated = name: lib.elem name facts.acceptListener;
  activated = lib.filter isActivated enabled;
  forwarded = lib.subtractLists activated enabled;

  unitOf = name: "prometheus-${name}-exporter";

  # The socket units without those of this module. NixOS itself made one for the node
  # exporter in April 2026, and may again. It also sets the flag then, which may not be
  # there twice.
  otherSockets =
    let
      inherit (options.systemd.sockets) definitionsWithLocations loc type;
      others = lib.filter (definition: definition.file != file) definitionsWithLocations;
    in
    (lib.mergeDefinitions loc type others).mergedValue;
  isActivatedByNixos = name: otherSockets.${unitOf name}.listenStreams or [ ] != [ ];

  # Reports whether listenAddress is declared as usual, an address alone. dnssec has a port
  # in it, for example.
  hasUsualAddress =
    name:
    let
      declared = options.services.prometheus.exporters.type.getSubOptions [ ];
      optionsOf = declared.${name}.type.getSubOptions or (_: { });
    in
    (optionsOf [ ]).listenAddress.default or null == "0.0.0.0";

  # Where a forwarded exporter listens, or null if its option does not say. Some have an
  # IPv6 address without brackets.
  addressOptionOf = name: facts.addressOptions.${name} or "listenAddress";
  addressOf =
    name:
    let
      host = toString exporters.${name}.${addressOptionOf name};
      port = toString exporters.${name}.port;
    in
    lib.findFirst (address: address != null) null (
      map parseHostport [
        "${host}:${port}"
        "[${host}]:${port}"
        host
      ]
    );
  hostportOf =
    name:
    let
      address = addressOf name;
      host = if address.wildcard or true then "127.0.0.1" else address.host;
    in
    "${host}:${toString (address.port or exporters.${name}.port)}";

  unitsFor =
    name: hostport:
    import ./forward.nix {
      inherit name hostport;
      host = (parseHostport hostport).address;
      path = "${cfg.sockdir}/${name}.sock";
      proxy = "${config.systemd.package}/lib/systemd/systemd-socket-proxyd";
    };
  forwards = mapAttrs unitsFor (
    lib.filterAttrs (_: hostport: parseHostport hostport != null) cfg.forward
  );

  # Lets users override settings without mkForce, and is stronger than the mkDefault of
  # NixOS' exporters.
  overridable = mapAttrs (_: mkOverride 900);

  forwardProblems =
    name:
    let
      invalidName = nameProblem name { socket = null; };
    in
    if invalidName != null then
      [ "${option}.forward ${invalidName}\n" ]
    else
      optional (builtins.match "[^+@]*" name == null) ''
        ${option}.forward has "${name}", but the names of systemd's units cannot have + or @ in this place. Leave them out.
      ''
      ++ optional ((parseHostport cfg.forward.${name}).wildcard or true) ''
        ${option}.forward.${escapeNixIdentifier name} is ${builtins.toJSON cfg.forward.${name}}, which is not the address and port of a program.
        Write where the program listens, such as "127.0.0.1:9187" or "[::1]:9187". Host names are not accepted.
      '';

  problems =
    optional (wanted != [ ] && !cfg.enable) ''
      ${option}.exporters.${escapeNixIdentifier (lib.head wanted)}.enable runs the exporter behind Aegis, but Aegis is not enabled.
      Set ${option}.enable = true, or use only ${optionOf (lib.head wanted)}.
    ''
    ++ optionals cfg.enable (
      concatMap forwardProblems (lib.attrNames cfg.forward)
      ++ map (name: ''
        ${option}.forward.${name} and ${option}.exporters.${name}.enable both make ${name}.sock.
        Remove one of the two.
      '') (lib.filter (name: cfg.forward ? ${name}) activated)
      ++ map (name: ''
        ${option}.targets.${escapeNixIdentifier name}.socket names another socket than ${cfg.sockdir}/${name}.sock, which ${option}.forward or ${option}.exporters makes.
        Remove it, or give the target another name.
      '') (
        lib.filter (name: (cfg.targets.${name}.socket or null) != null) (
          activated ++ lib.attrNames cfg.forward
        )
      )
      # systemd accepts no longer paths of sockets.
      ++ map (name: ''
        ${cfg.sockdir}/${name}.sock is longer than the 107 bytes that systemd accepts as the path of a socket.
        Choose a shorter ${option}.sockdir.
      '') (
        lib.filter (name: lib.stringLength "${cfg.sockdir}/${name}.sock" > 107) (
          activated ++ lib.attrNames cfg.forward
        )
      )
    );

  isOnLoopback =
    name: (addressOf name).loopback or false && !lib.elem name facts.ignoreListenAddress;

  # Warnings about a forwarded exporter that others may reach without Aegis, or that Aegis
  # may not reach.
  addressWarnings =
    name:
    let
      address = addressOf name;
      addressOption = addressOptionOf name;
      is = "${optionOf name}.${addressOption} is ${builtins.toJSON exporters.${name}.${addressOption}}";
    in
    if lib.elem name facts.ignoreListenAddress then
      [
        ''
          The exporter ${name} ignores ${optionOf name}.listenAddress and listens on every address, so others can scrape it without Aegis.
          Keep its port closed in the firewall.
        ''
      ]
    else if address == null then
      [
        ''
          ${is}, which does not say where the exporter listens. Aegis expects it at ${hostportOf name}.
          Set ${addressOption} to "${if hasUsualAddress name then "127.0.0.1" else hostportOf name}".
        ''
      ]
    else
      optional (!address.loopback) ''
        ${is}, so others may scrape the exporter without Aegis.
        Set it to a loopback address, such as "127.0.0.1".
      '';

  openFirewallWarning =
    name:
    let
      consequence =
        if isActivated name then
          "but ${option}.exporters.${name} moved the exporter to ${cfg.sockdir}/${name}.sock"
        else if isOnLoopback name then
          "but ${option}.exporters.${name} moved the exporter to loopback"
        else
          "so others can scrape the exporter without Aegis";
    in
    ''
      ${optionOf name}.openFirewall opens TCP port ${toString exporters.${name}.port}, ${consequence}.
      Remove openFirewall.
    '';
in
{
  _file = file;

  options.within.services.aegis = {
    exporters = lib.mkOption {
      type = types.attrsOf (
        types.submodule { options.enable = lib.mkEnableOption "the exporter behind Aegis"; }
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

        Exporters that probe other things, such as blackbox, json, script and snmp, do so at
        `/probe` and have only metrics of their own at `/metrics`. Set `path = "/probe"` in
        {option}`targets` for those; the parameters of a scrape are passed on.
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

  config = lib.mkMerge [
    {
      assertions = map (message: {
        assertion = false;
        inherit message;
      }) problems;
    }
    (lib.mkIf cfg.enable {
      services.prometheus.exporters = lib.genAttrs wanted (
        name:
        {
          enable = true;
        }
        // (
          if isActivated name then
            { extraFlags = lib.mkIf (!isActivatedByNixos name) [ "--web.systemd-socket" ]; }
          else
            { listenAddress = lib.mkIf (hasUsualAddress name) (mkOverride 900 "127.0.0.1"); }
        )
      );

      warnings =
        concatMap (name: optional exporters.${name}.openFirewall (openFirewallWarning name)) enabled
        ++ concatMap addressWarnings forwarded
        ++ map (name: ''
          The exporter ${name} receives what others push on the port that ${option}.exporters.${name} moves to loopback, so other hosts can no longer push to it.
          If they do, do not run it behind Aegis.
        '') (lib.filter isOnLoopback (lib.intersectLists facts.receivePushes enabled))
        ++ map (name: ''
          ${option}.exporters.${name}.enable is true, but another module sets ${optionOf name}.enable to false, so there is no target ${name}.
          Remove one of the two.
        '') (lib.subtractLists enabled wanted);

      within.services.aegis.forward = lib.genAttrs forwarded hostportOf;

      within.services.aegis.targets =
        let
          pathOf =
            name:
            exporters.${name}.telemetryPath or exporters.${name}.metricsPath or facts.paths.${name}
              or "/metrics";
        in
        lib.genAttrs (lib.filter (name: pathOf name != "/metrics") enabled) (name: {
          path = lib.mkDefault (pathOf name);
        });

      systemd.sockets =
        mapAttrs
          (
            _: socket:
            socket
            // {
              before = [ "aegis-rebind.service" ];
              # NixOS may make the socket unit of an exporter too: its description stays, and
              # its TCP port does not.
              description = mkOverride 900 socket.description;
              listenStreams = lib.mkForce socket.listenStreams;
              socketConfig = overridable socket.socketConfig;
            }
          )
          (
            lib.listToAttrs (map (name: nameValuePair (unitOf name) (unitsFor name null).socket) activated)
            // mapAttrs' (name: units: nameValuePair "aegis-forward-${name}" units.socket) forwards
          );

      systemd.services = lib.mkMerge [
        # If an exporter keeps crashing, its target is down and comes back with it. Reaching
        # a start limit would fail its socket unit too, and the target would vanish.
        (lib.genAttrs (map unitOf enabled) (_: {
          startLimitIntervalSec = mkOverride 900 0;
          serviceConfig = overridable { RestartSec = "1s"; };
        }))
        (lib.genAttrs (map unitOf activated) (unit: {
          requires = [ "${unit}.socket" ];
          after = [ "${unit}.socket" ];
          # A switch would stop the socket too, and the target would vanish meanwhile.
          stopIfChanged = mkOverride 900 false;
        }))
        (mapAttrs' (
          name: { service, ... }:
          nameValuePair "aegis-forward-${name}" (
            service
            // {
              serviceConfig = overridable service.serviceConfig;
              stopIfChanged = false; # as above
            }
          )
        ) forwards)
      ];
    })
  ];
}
