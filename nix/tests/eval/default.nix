# The evaluation tests: the real module, with what it sets of NixOS declared by
# nixos.nix, so that nixpkgs' lib is all it takes.
#
#   nix-instantiate --eval --strict --json -E 'import ./nix/tests/eval { }'
#
# gives the failures; [ ] is success.
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

  # As module.nix and the tests' machines use it.
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

  # The configuration with these settings of Aegis, and, for a second argument,
  # of NixOS.
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
  # A name without "test" would be passed over in silence.
  lib.mapAttrs (
    name: test: lib.throwIfNot (lib.hasPrefix "test" name) "${name} does not begin with test" test
  ) tests
)
