# What the host of a Prometheus needs of Aegis: functions on plain attributes,
# which services.prometheus takes, and what Grafana shows of it. The names of a
# flake's lib.
{ lib }:
let
  inherit (import ./address.nix { inherit lib; }) parseHostport;

  # The job of Aegis' own metrics, by which alerts.json finds them.
  job = "aegis";

  checked =
    host:
    lib.throwIf (parseHostport host == null && builtins.match "[A-Za-z0-9][A-Za-z0-9._-]*:[0-9]{1,5}" host == null)
      "aegis.lib.scrapeConfig: \"${host}\" in hosts is no address and port; write \"10.100.0.2:31337\", \"[fda2::2]:31337\" or \"host.example.org:31337\""
      host;
in
{
  # One scrape configuration for every service on every host: it asks each host
  # what there is to scrape, and scrapes Aegis' own metrics as job "aegis".
  #
  #   services.prometheus.scrapeConfigs = [
  #     (aegis.lib.scrapeConfig { hosts = [ "[fda2::1]:31337" "[fda2::2]:31337" ]; })
  #   ];
  #
  # Beside hosts it takes refreshInterval, how often a host is asked what there
  # is, and whatever else a scrape configuration has, such as scrape_interval;
  # scheme and credentials hold for discovery too.
  scrapeConfig =
    {
      hosts,
      refreshInterval ? "1m",
      scheme ? "http",
      ...
    }@args:
    let
      credentials = lib.filterAttrs (
        name: _:
        builtins.elem name [
          "authorization"
          "basic_auth"
          "oauth2"
          "tls_config"
        ]
      ) args;
    in
    {
      job_name = job;
      static_configs = [ { targets = map checked hosts; } ];
      http_sd_configs = map (
        host:
        {
          url = "${scheme}://${checked host}/-/sd";
          refresh_interval = refreshInterval;
        }
        // credentials
      ) hosts;
    }
    // removeAttrs args [
      "hosts"
      "refreshInterval"
    ];

  # The hosts among a flake's nixosConfigurations that enable Aegis, for
  # scrapeConfig: each by its hostport, or, where that is every address, by the
  # name of the host. One that listens on loopback is left out, with a warning.
  #
  #   hosts = aegis.lib.hosts self.nixosConfigurations;
  hosts =
    nixosConfigurations:
    lib.concatLists (
      lib.mapAttrsToList (
        name:
        { config, ... }:
        let
          cfg = config.within.services.aegis or { enable = false; };
          address = parseHostport cfg.hostport;
        in
        if !cfg.enable then
          [ ]
        else if address == null then
          throw "aegis.lib.hosts: within.services.aegis.hostport of ${name} is \"${cfg.hostport}\", which is no address and port"
        else if address.wildcard then
          [ "${config.networking.fqdnOrHostName}:${toString address.port}" ]
        else if address.loopback then
          lib.warn
            "aegis.lib.hosts: ${name} is left out, its within.services.aegis.hostport ${cfg.hostport} is for itself only"
            [ ]
        else
          [ cfg.hostport ]
      ) nixosConfigurations
    );

  # Alerts, a rule file:
  #
  #   services.prometheus.ruleFiles = [ aegis.lib.alertRules ];
  #
  # Not services.prometheus.rules: NixOS puts those into one file, one after the
  # other, and of two documents in it Prometheus reads the first.
  #
  # AegisTargetFailing does not fire while a scrape now and then succeeds: a
  # person's, or one of a tighter deadline, may fail beside it. Its twelve minutes
  # hold two samples even of a job that is scraped every five. AegisTargetGone is
  # made from the series of `up` and not from Aegis' own, so that it also sees a
  # target that went while Aegis was restarted.
  alertRules = ./alerts.json;

  # A dashboard for Grafana, which takes folders of them:
  #
  #   environment.etc."grafana-dashboards/aegis.json".source = aegis.lib.dashboard;
  #   services.grafana.provision.dashboards.settings.providers = [
  #     { name = "aegis"; options.path = "/etc/grafana-dashboards"; }
  #   ];
  dashboard = ./dashboard.json;
}
