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
  drop = {
    action = "labeldrop";
    regex = "__unix_socket__|__vm_unix_socket__";
  };
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
          labels.job = "aegis";
        }
      ];
      relabel_configs = [ drop ];
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

  testStaticConfigsAreAdded = {
    expr = map (static: static.targets) (aegis.scrapeConfig {
      hosts = [ "[fda2::1]:31337" ];
      static_configs = [ { targets = [ "a:1" ]; } ];
    }).static_configs;
    expected = [
      [ "a:1" ]
      [ "[fda2::1]:31337" ]
    ];
  };

  testHostsIsAList = {
    expr = map (hosts: throws (aegis.scrapeConfig { inherit hosts; })) [
      "[fda2::1]:31337"
      { host.config = { }; }
    ];
    expected = [
      true
      true
    ];
  };

  testHostsOfScrapeConfig = {
    expr = map (host: throws (aegis.scrapeConfig { hosts = [ host ]; })) [
      "10.100.0.2:31337"
      "[fda2::1]:31337"
      "host:65535"
      "host_1.example.org:1"
      "3.example.org:31337"
      "host.example.org"
      "host:0"
      "host:99999"
      "host:031337"
      "10.0.0.999:31337"
      "10.0.0:31337"
      "fda2::1:31337"
      "http://host:31337"
      "host:31337/"
    ];
    expected = lib.genList (i: i >= 5) 14;
  };

  # Only what NixOS' type of http_sd_configs has goes there too.
  testCredentials =
    let
      config = aegis.scrapeConfig {
        hosts = [ "host:1" ];
        scheme = "https";
        basic_auth.username = "prometheus";
        tls_config.ca_file = "/ca.pem";
        authorization.credentials_file = "/token";
        oauth2.client_id = "id";
      };
    in
    {
      expr = {
        discovery = config.http_sd_configs;
        scrapes = lib.getAttrs [
          "scheme"
          "basic_auth"
          "tls_config"
          "authorization"
          "oauth2"
        ] config;
      };
      expected = {
        discovery = [
          {
            url = "https://host:1/-/sd";
            refresh_interval = "1m";
            basic_auth.username = "prometheus";
            tls_config.ca_file = "/ca.pem";
          }
        ];
        scrapes = {
          scheme = "https";
          basic_auth.username = "prometheus";
          tls_config.ca_file = "/ca.pem";
          authorization.credentials_file = "/token";
          oauth2.client_id = "id";
        };
      };
    };

  # Aegis' own metrics have the same job in each call, and no other rule comes after the
  # one that drops the labels.
  testSecondCall = {
    expr =
      lib.getAttrs
        [
          "job_name"
          "relabel_configs"
          "static_configs"
        ]
        (
          aegis.scrapeConfig {
            hosts = [ "host:1" ];
            job_name = "eu";
            relabel_configs = [ { target_label = "region"; } ];
          }
        );
    expected = {
      job_name = "eu";
      static_configs = [
        {
          targets = [ "host:1" ];
          labels.job = "aegis";
        }
      ];
      relabel_configs = [
        { target_label = "region"; }
        drop
      ];
    };
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
