# The evaluation tests of the module. They need only nixpkgs' lib.
#
#   nix-instantiate --eval --strict --json -E 'import ./nix/tests/eval { }'
#
# prints the failures, or [] if there are none.
{
  lib ? import <nixpkgs/lib>,
}:
let
  args = import ./harness.nix { inherit lib; };
  tests = lib.foldl' (all: file: all // import file args) { } [
    ./units.nix
    ./hardening.nix
    ./options.nix
    ./assertions.nix
    ./targets.nix
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
