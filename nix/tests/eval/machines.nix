# The VM tests, as far as they go without VMs: every machine's configuration of
# Aegis evaluates, in each of its generations, and nothing fails or warns. That
# their scripts are Python is for .ci/nix to see.
{
  evaluate,
  failing,
  lib,
  ...
}:
let
  tests = import ../. { aegis = import ./aegis.nix { inherit lib; }; };

  # What the machines set beside what the module does.
  machine =
    let
      any = lib.mkOption {
        type = lib.types.raw;
        default = { };
      };
    in
    {
      options = {
        environment.systemPackages = any;
        networking.firewall.allowedUDPPorts = any;
        services.prometheus = lib.genAttrs [ "enable" "globalConfig" "ruleFiles" "rules" "scrapeConfigs" ] (_: any) // {
          exporters.node = lib.mkOption {
            type = lib.types.submodule { options.enabledCollectors = any; };
          };
        };
        specialisation = any;
        system.switch.enable = any;
      };
      config._module.args.nodes.friend.networking.primaryIPAddress = "192.168.1.1";
    };

  # A machine as it boots, and as each of its specialisations.
  generations =
    name: module:
    let
      booted = {
        inherit name;
        inherit
          (evaluate [
            machine
            module
          ])
          config
          ;
      };
    in
    [ booted ]
    ++ lib.mapAttrsToList (generation: special: {
      name = "${name}, ${generation}";
      inherit
        (evaluate [
          machine
          module
          special.configuration
        ])
        config
        ;
    }) booted.config.specialisation;

  machines = lib.concatLists (
    lib.concatLists (
      lib.mapAttrsToList (
        test: { nodes, ... }: lib.mapAttrsToList (name: generations "${test}: ${name}") nodes
      ) tests
    )
  );
in
{
  testMachines = {
    expr = lib.concatMap (
      { name, config }: map (message: "${name}: ${message}") (failing config ++ config.warnings)
    ) machines;
    expected = [ ];
  };

  testMachinesEvaluate = {
    expr = builtins.deepSeq (map (m: [
      m.config.systemd
      m.config.services
      m.config.networking
    ]) machines) (map (m: m.name) machines);
    expected = [
      "exporters: host"
      "exporters: host, without"
      "refused: host"
      "remote: alone"
      "remote: host"
      "remote: prometheus"
      "restart: host"
      "scrapers: friend"
      "scrapers: host"
      "scrapers: host, inner"
      "scrapers: stranger"
      "targets: host"
      "targets: host, off"
      "upgrade: host"
      "upgrade: host, moved"
      "upgrade: host, newer"
      "wireguard: host"
      "wireguard: scraper"
    ];
  };
}
