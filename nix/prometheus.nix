# The flake's lib, for the hosts of Prometheus and Grafana: functions that return
# plain attributes for services.prometheus, the alerts, and the dashboard.
{ lib }:
let
  inherit (import ./address.nix { inherit lib; }) parseHostport;

  # The job name of Aegis' own metrics. alerts.json selects them by it.
  job = "aegis";

  # A host name with a port. If it ends like an IPv4 address, it must be one.
  isHostname =
    host:
    let
      parts = builtins.match "([A-Za-z0-9]([A-Za-z0-9._-]*[.])?)?([A-Za-z0-9_-]+):([1-9][0-9]{0,4})" host;
    in
    parts != null
    && builtins.match "[0-9]+" (lib.elemAt parts 2) == null
    && lib.toIntBase10 (lib.elemAt parts 3) <= 65535;

  checked =
    host:
    lib.throwIf (parseHostport host == null && !isHostname host)
      "aegis.lib.scrapeConfig: \"${host}\" in hosts is not an address with a port; write \"10.100.0.2:31337\", \"[fda2::2]:31337\" or \"host.example.org:31337\""
      host;

  # Prometheus 3.15 and later scrapes the Unix socket that these labels name, on its own
  # host. Without this, a compromised host could return them from discovery. Last, so
  # that no other rule can create them afterwards.
  dropSocketLabels = {
    action = "labeldrop";
    regex = "__unix_socket__|__vm_unix_socket__";
  };
in
{
  # Returns one scrape configuration for every service on every host. Prometheus
  # discovers the targets of each host and scrapes Aegis' own metrics as job "aegis".
  #
  #   services.prometheus.scrapeConfigs = [
  #     (aegis.lib.scrapeConfig { hosts = [ "[fda2::1]:31337" "[fda2::2]:31337" ]; })
  #   ];
  #
  # refreshInterval sets how often Prometheus queries each host for its targets. All
  # other arguments, such as scrape_interval, become part of the scrape configuration.
  # For a second call, for example with other credentials, set another job_name; Aegis'
  # own metrics have the job "aegis" in both, which the alerts need.
  #
  # scheme, basic_auth and tls_config apply to discovery too. authorization and oauth2 do
  # not, because NixOS' type of http_sd_configs lacks them; Aegis itself understands only
  # basic_auth and client certificates. If certificates or passwords are in files, NixOS cannot see
  # them when it checks the configuration:
  #
  #   services.prometheus.checkConfig = "syntax-only";
  scrapeConfig =
    {
      hosts,
      refreshInterval ? "1m",
      scheme ? "http",
      relabel_configs ? [ ],
      static_configs ? [ ],
      ...
    }@args:
    let
      credentials = builtins.intersectAttrs {
        basic_auth = null;
        tls_config = null;
      } args;
    in
    lib.throwIfNot (lib.isList hosts)
      "aegis.lib.scrapeConfig: hosts is not a list; write aegis.lib.hosts self.nixosConfigurations, or a list such as [ \"[fda2::1]:31337\" ]"
    {
      job_name = job;
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
    ]
    // {
      static_configs = static_configs ++ [
        {
          targets = map checked hosts;
          labels.job = job;
        }
      ];
      relabel_configs = relabel_configs ++ [ dropSocketLabels ];
    };

  # Returns the hosts for scrapeConfig: the hostport of each of the flake's
  # nixosConfigurations that enable Aegis. If the hostport is a wildcard address, it
  # uses the host name instead. It skips a host that listens on loopback, with a
  # warning.
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
          throw "aegis.lib.hosts: within.services.aegis.hostport of ${name} is \"${cfg.hostport}\", which is not an address with a port"
        else if address.wildcard then
          [ "${config.networking.fqdnOrHostName}:${toString address.port}" ]
        else if address.loopback then
          lib.warn
            "aegis.lib.hosts: skipping ${name}, because only ${name} itself can reach its within.services.aegis.hostport, ${cfg.hostport}"
            [ ]
        else
          [ cfg.hostport ]
      ) nixosConfigurations
    );

  # The path of a rule file with the alerts:
  #
  #   services.prometheus.ruleFiles = [ aegis.lib.alertRules ];
  #
  # Do not use services.prometheus.rules: NixOS concatenates those into one file, and
  # Prometheus reads only the first document of a file.
  #
  # AegisTargetFailing does not fire while some scrapes succeed, because scrapes by a
  # person or with a shorter timeout may fail at the same time. Its window of twelve
  # minutes holds two samples even if Prometheus scrapes every five minutes.
  # AegisTargetUnparsable finds a target in Aegis' own metrics by its job, because Aegis
  # may refuse a scrape without counting it, for example for a rate limit. So it leaves
  # out targets whose job the targets file changes.
  # AegisTargetGone uses `up` instead of Aegis' own series, so that it also notices a
  # target that disappeared while Aegis restarted.
  alertRules = ./alerts.json;

  # The path of a Grafana dashboard. Grafana reads directories of them:
  #
  #   environment.etc."grafana-dashboards/aegis.json".source = aegis.lib.dashboard;
  #   services.grafana.provision.dashboards.settings.providers = [
  #     { name = "aegis"; options.path = "/etc/grafana-dashboards"; }
  #   ];
  dashboard = ./dashboard.json;
}
