# NixOS' exporters that can run behind Aegis. Their program accepts a listener from
# systemd (--web.systemd-socket of Prometheus' exporter-toolkit), their NixOS module
# has extraFlags, and they serve their metrics at /metrics. blackbox, json and snmp
# are missing because they serve metrics at other paths, such as /probe.
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
