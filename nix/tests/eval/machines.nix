# Checks the machines of the VM tests without VMs: their configurations of Aegis
# evaluate, in each specialisation, without failed assertions or warnings. .ci/nix
# checks the Python scripts of the tests.
{
  evaluate,
  failing,
  lib,
  ...
}:
let
  tests = import ../. { aegis = import ./aegis.nix { inherit lib; }; };

  # The options that the machines set and the module does not.
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
          exporters = lib.mkOption {
            type = lib.types.submodule {
              options.node = lib.mkOption {
                type = lib.types.submodule { options.enabledCollectors = any; };
              };
            };
          };
        };
        specialisation = any;
        system.switch.enable = any;
      };
      config._module.args.nodes.allowed.networking.primaryIPAddress = "192.168.1.1";
    };

  # Returns the configuration of a machine and those of its specialisations.
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
      "errors: host"
      "exporters: host"
      "exporters: host, newer"
      "exporters: host, without-node"
      "remote: alone"
      "remote: host"
      "remote: prometheus"
      "restart: host"
      "scrapers: allowed"
      "scrapers: denied"
      "scrapers: host"
      "scrapers: host, unfiltered"
      "targets: host"
      "targets: host, disabled"
      "targets: host, second-user"
      "upgrade: host"
      "upgrade: host, moved"
      "upgrade: host, newer"
      "wireguard: host"
      "wireguard: scraper"
    ];
  };
}
