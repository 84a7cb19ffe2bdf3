# The flake, as far as the VM tests use it.
{ lib }:
{
  lib = import ../../prometheus.nix { inherit lib; };
  # The module itself is there already.
  nixosModules.default = { };
}
