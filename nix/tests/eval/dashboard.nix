# The dashboard shows what the alerts are about. Its queries are run by
# cmd/aegis/dashboard_queries_test.go.
{ lib, ... }:
let
  aegis = import ../../prometheus.nix { inherit lib; };
  dashboard = builtins.fromJSON (builtins.readFile aegis.dashboard);

  # As an alert writes it: for the job of the module and every host.
  written = {
    "job=~\"$job\", instance=~\"$instance\"" = ''job="aegis"'';
    "job!~\"$job\"" = ''job!="aegis"'';
    " " = "";
    "\n" = "";
  };
  plain = lib.replaceStrings (lib.attrNames written) (lib.attrValues written);

  # What begins an expression has a parenthesis before it, and no other name.
  queries = map (target: "(" + plain target.expr) (
    lib.concatMap (panel: panel.targets) dashboard.panels
  );
  rules = lib.concatMap (group: group.rules) (lib.importJSON aegis.alertRules).groups;
in
{
  testEveryAlertIsOnTheDashboard = {
    expr = map (rule: rule.alert) (
      lib.filter (rule: !lib.any (lib.hasInfix ("(" + plain rule.expr)) queries) rules
    );
    expected = [ ];
  };
}
