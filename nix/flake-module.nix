# The module with the flake's own package: built with the nixpkgs it was tested
# with, and knowing its revision.
aegis:
{ lib, pkgs, ... }:
{
  # Imported twice, as by two profiles of a fleet, it is one module.
  key = "tulpa.dev/cadey/aegis";
  _file = "aegis.nixosModules.aegis";

  imports = [ ./module.nix ];
  within.services.aegis.package =
    lib.mkDefault
      aegis.packages.${pkgs.stdenv.hostPlatform.system}.default;
}
