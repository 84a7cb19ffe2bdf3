# The functions for the Prometheus side. nix/tests/alerts.yml tests the alerts.
{
  enabled,
  with',
  lib,
  ...
}:
let
  aegis = import ../../prometheus.nix { inherit lib; };
  alerts =
    lib.concatMap (group: map (rule: rule.alert) group.rules)
      (lib.importJSON aegis.alertRules).groups;
  throws = value: !(builtins.tryEval (builtins.deepSeq value value)).success;
in
{
  testScrapeConfig = {
    expr = aegis.scrapeConfig {
      hosts = [
        "[fda2::1]:31337"
        "host.example.org:31337"
      ];
      scrape_interval = "15s";
    };
    expected = {
      job_name = "aegis";
      scrape_interval = "15s";
      static_configs = [
        {
          targets = [
            "[fda2::1]:31337"
            "host.example.org:31337"
          ];
        }
      ];
      http_sd_configs = [
        {
          url = "http://[fda2::1]:31337/-/sd";
          refresh_interval = "1m";
        }
        {
          url = "http://host.example.org:31337/-/sd";
          refresh_interval = "1m";
        }
      ];
    };
  };

  testScrapeConfigWithoutAPort = {
    expr = throws (aegis.scrapeConfig { hosts = [ "host.example.org" ]; });
    expected = true;
  };

  testHosts = {
    expr = aegis.hosts {
      disabled.config = with' { } { };
      loopback.config = enabled { };
      other.config = { };
      tunnel.config = enabled { hostport = "[fda2::1]:31337"; };
      wildcard.config = enabled { hostport = "[::]:9000"; };
    };
    expected = [
      "[fda2::1]:31337"
      "nixos.example.org:9000"
    ];
  };

  testHostsWithInvalidHostport = {
    expr = throws (aegis.hosts { one.config = enabled { hostport = "one:31337"; }; });
    expected = true;
  };

  testAlerts = {
    expr = alerts;
    expected = [
      "AegisDown"
      "AegisTargetFailing"
      "AegisTargetUnparsable"
      "AegisTargetGone"
      "AegisDirectoryUnreadable"
      "AegisConfigReloadFailed"
      "SystemdUnitFailed"
    ];
  };

  testEveryAlertIsTested = {
    expr =
      let
        tests = builtins.readFile ../alerts.yml;
        fires = name: lib.hasInfix "alertname: ${name}\n        exp_alerts:" tests;
      in
      lib.filter (name: !fires name) alerts;
    expected = [ ];
  };
}
