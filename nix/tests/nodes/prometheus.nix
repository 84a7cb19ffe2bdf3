# A Prometheus that scrapes the targets of the Aegis at host:31337.
{ aegis }:
{
  services.prometheus = {
    enable = true;
    globalConfig = {
      scrape_interval = "1s";
      scrape_timeout = "1s";
      evaluation_interval = "1s";
    };
    scrapeConfigs = [
      (aegis.lib.scrapeConfig {
        hosts = [ "host:31337" ];
        refreshInterval = "1s";
      })
    ];
    ruleFiles = [ aegis.lib.alertRules ];
    # The user's own rules must work next to the alerts.
    rules = [
      (builtins.toJSON {
        groups = [
          {
            name = "own";
            rules = [
              {
                record = "own:up:sum";
                expr = "sum(up)";
              }
            ];
          }
        ];
      })
    ];
  };
}
