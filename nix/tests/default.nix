# The VM tests by name, for pkgs.testers.runNixOSTest; aegis is the flake.
{ aegis }:
let
  test = file: import file { inherit aegis; };
in
{
  exporters = test ./exporters.nix;
  refused = test ./refused.nix;
  remote = test ./remote.nix;
  restart = test ./restart.nix;
  scrapers = test ./scrapers.nix;
  targets = test ./targets.nix;
  upgrade = test ./upgrade.nix;
  wireguard = test ./wireguard.nix;
}
