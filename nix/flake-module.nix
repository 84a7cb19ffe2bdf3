# The module with the flake's own package, which is built with the nixpkgs that it
# was tested with and knows its revision. For systems that the flake does not build, such
# as armv7l and riscv64, the user's nixpkgs builds it.
aegis:
{ lib, pkgs, ... }:
{
  # Importing the module twice, for example from two profiles, is not an error.
  key = "tulpa.dev/cadey/aegis";
  _file = "aegis.nixosModules.aegis";

  imports = [ ./module.nix ];
  within.services.aegis.package =
    lib.mkDefault
      aegis.packages.${pkgs.stdenv.hostPlatform.system}.default
        or (aegis.overlays.default pkgs pkgs).aegis;
}
