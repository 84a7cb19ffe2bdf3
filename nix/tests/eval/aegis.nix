# The parts of the flake that the VM tests use.
{ lib }:
{
  lib = import ../../prometheus.nix { inherit lib; };
  # The evaluation tests import the module themselves.
  nixosModules.default = { };
}
