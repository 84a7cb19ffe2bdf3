# The dashboard has a query for every alert.
# cmd/aegis/dashboard_queries_test.go runs its queries.
{ lib, ... }:
let
  aegis = import ../../prometheus.nix { inherit lib; };
  dashboard = builtins.fromJSON (builtins.readFile aegis.dashboard);

  # Rewrites a query of the dashboard as the alerts write it: for the default job and
  # all hosts.
  written = {
    "job=~\"$job\", instance=~\"$instance\"" = ''job="aegis"'';
    "job!~\"$job\"" = ''job!="aegis"'';
    "instance=~\"$instance\", " = "";
    " " = "";
    "\n" = "";
  };
  plain = lib.replaceStrings (lib.attrNames written) (lib.attrValues written);

  # The parenthesis marks the beginning of an expression, so that the search below
  # does not match in the middle of a metric name.
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
