# NixOS' exporters that can be moved behind Aegis: their program takes its
# listeners from systemd (--web.systemd-socket of Prometheus' exporter-toolkit),
# their NixOS module passes extraFlags on, and what they have to say is at
# /metrics. Not so blackbox, json and snmp, which are asked at /probe and the like.
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
