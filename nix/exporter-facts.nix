# What the options of NixOS' exporters do not say, by their names.
{
  # Their program accepts a listener from systemd (--web.systemd-socket of Prometheus'
  # exporter-toolkit) and is tested with it, and their NixOS module has extraFlags. All
  # others stay on loopback, behind a proxy.
  acceptListener = [
    "bind"
    "chrony"
    "frr"
    "ipmi"
    "mysqld"
    "nginx"
    "node"
    "postgres"
    "smartctl"
    "smokeping"
    "systemd"
    "zfs"
  ];

  # They listen on every address, whatever listenAddress says.
  ignoreListenAddress = [
    "ecoflow"
    "imap-mailstat"
    "kafka"
    "pihole"
  ];

  # The option that they use instead of listenAddress.
  addressOptions = {
    fail2ban = "host";
  };

  # They receive what others push, on the port of their metrics.
  receivePushes = [
    "collectd"
    "influxdb"
  ];

  # Where their metrics are, if not at /metrics. Others have an option for it.
  paths = {
    nut = "/ups_metrics";
    pve = "/pve";
    v2ray = "/scrape";
  };
}
