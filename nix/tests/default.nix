# The VM tests by name, for pkgs.testers.runNixOSTest. aegis is the flake.
{ aegis }:
let
  test = file: import file { inherit aegis; };
in
{
  errors = test ./errors.nix;
  exporters = test ./exporters.nix;
  remote = test ./remote.nix;
  restart = test ./restart.nix;
  scrapers = test ./scrapers.nix;
  targets = test ./targets.nix;
  upgrade = test ./upgrade.nix;
  wireguard = test ./wireguard.nix;
}
