# The evaluation tests of the module. nixos.nix declares the options of NixOS that the
# module sets, so that the tests need only nixpkgs' lib.
#
#   nix-instantiate --eval --strict --json -E 'import ./nix/tests/eval { }'
#
# prints the failures, or [] if there are none.
{
  lib ? import <nixpkgs/lib>,
}:
let
  package = {
    type = "derivation";
    name = "aegis-0";
    outPath = "/usr/local";
    meta.mainProgram = "aegis";
  };

  # The parts of pkgs that module.nix and the VM tests use.
  pkgs =
    lib.genAttrs [ "iproute2" "python3" "wireguard-tools" ] (
      name:
      package
      // {
        inherit name;
        outPath = "/packages/${name}";
        meta.mainProgram = name;
      }
    )
    // {
      callPackage = _: _: package;
      stdenv.hostPlatform.system = "x86_64-linux";
    };

  evaluate =
    modules:
    lib.evalModules {
      modules = [
        ./nixos.nix
        ../../module.nix
      ]
      ++ modules;
      specialArgs = { inherit pkgs; };
    };

  # Returns the configuration for settings of Aegis and further settings of NixOS.
  with' =
    settings: nixos:
    (evaluate [
      nixos
      { within.services.aegis = settings; }
    ]).config;
  enabled = settings: with' ({ enable = true; } // settings) { };

  failing = config: map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);

  args = {
    inherit
      lib
      package
      enabled
      with'
      failing
      evaluate
      pkgs
      ;
  };
  tests = lib.foldl' (all: file: all // import file args) { } [
    ./units.nix
    ./hardening.nix
    ./options.nix
    ./assertions.nix
    ./address.nix
    ./exporters.nix
    ./prometheus.nix
    ./dashboard.nix
    ./readme.nix
    ./machines.nix
  ];
in
lib.runTests (
  # lib.runTests silently skips names that do not begin with "test".
  lib.mapAttrs (
    name: test: lib.throwIfNot (lib.hasPrefix "test" name) "${name} does not begin with test" test
  ) tests
)
