# Evaluates the blocks of nix/README.md as modules, each alone and all together, next to an
# enabled Aegis. .ci/nix writes the blocks to dir and calls this. Returns what the module
# says of them, which must be nothing.
{
  dir,
  lib ? import <nixpkgs/lib>,
}:
let
  inherit (import ./harness.nix { inherit lib; }) evaluate;

  # The options of NixOS that only the blocks set.
  others =
    let
      any = lib.mkOption {
        type = lib.types.raw;
        default = { };
      };
    in
    {
      options = {
        security.acme.certs = any;
        services.grafana = any;
        services.prometheus = lib.genAttrs [ "checkConfig" "enable" "ruleFiles" ] (_: any) // {
          scrapeConfigs = lib.mkOption {
            type = lib.types.listOf lib.types.raw;
            default = [ ];
          };
          exporters = lib.mkOption {
            type = lib.types.submodule {
              options.node = lib.mkOption {
                type = lib.types.submodule { options.enabledCollectors = any; };
              };
            };
          };
        };
      };
      config = {
        within.services.aegis.enable = true;
        _module.args = {
          aegis.lib = import ../../prometheus.nix { inherit lib; };
          self.nixosConfigurations.host.config = {
            within.services.aegis = {
              enable = true;
              hostport = "[fda2::1]:31337";
            };
          };
          printerfacts = "/printerfacts";
        };
      };
    };

  blocks = map (name: dir + "/${name}") (lib.attrNames (builtins.readDir dir));
  complaints =
    modules:
    let
      inherit (evaluate ([ others ] ++ modules)) config;
    in
    builtins.deepSeq [
      config.systemd
      config.services
      config.environment.etc
    ] (map (a: a.message) (lib.filter (a: !a.assertion) config.assertions) ++ config.warnings);
in
lib.throwIf (lib.length blocks < 5) "there are no blocks in ${toString dir}" (
  lib.concatMap complaints ([ blocks ] ++ map (block: [ block ]) blocks)
)
