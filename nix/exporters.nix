# NixOS' exporters that run on a socket behind Aegis. Their program accepts a listener from
# systemd (--web.systemd-socket of Prometheus' exporter-toolkit) and is tested with it, and
# their NixOS module has extraFlags. All others stay on loopback, behind a proxy.
[
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
]
