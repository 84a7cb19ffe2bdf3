# What `nix flake check` builds: the package, the evaluation tests, the tests of the
# alerts, the check of the formatting, and every VM test.
{ aegis, pkgs }:
let
  inherit (pkgs) lib;
  package = aegis.packages.${pkgs.stdenv.hostPlatform.system}.aegis;

  # One line for each failure.
  failures = map (f: "${f.name}: expected ${toJSON f.expected}, got ${toJSON f.result}") (
    import ./tests/eval { inherit lib; }
  );
  toJSON = value: builtins.unsafeDiscardStringContext (builtins.toJSON value);

  json = name: value: pkgs.writeText name (builtins.toJSON value);
in
{
  inherit package;

  eval = lib.throwIf (failures != [ ]) (lib.concatLines failures) (
    pkgs.runCommand "aegis-eval" { } "touch $out"
  );

  alerts = pkgs.runCommand "aegis-alerts" { nativeBuildInputs = [ pkgs.prometheus.cli ]; } ''
    cp ${./tests/alerts.yml} alerts.yml
    cp ${aegis.lib.alertRules} alerts.json
    promtool check rules alerts.json
    promtool test rules alerts.yml
    promtool check config ${
      json "prometheus.json" {
        scrape_configs = [ (aegis.lib.scrapeConfig { hosts = [ "[fda2::1]:31337" ]; }) ];
      }
    }
    touch $out
  '';

  formatting = pkgs.runCommand "aegis-formatting" { nativeBuildInputs = [ pkgs.nixfmt ]; } ''
    find ${../flake.nix} ${./.} -name '*.nix' -exec nixfmt --check {} +
    touch $out
  '';
}
// lib.mapAttrs (_: pkgs.testers.runNixOSTest) (import ./tests { inherit aegis; })
