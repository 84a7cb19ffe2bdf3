# The exporters that NixOS has, from its options. Those include renamed exporters, which
# are hidden, and removed ones, which have no port.
{ lib, options }:
lib.filterAttrs (
  _: exporter:
  lib.isOption exporter
  && exporter.visible or true != false
  && exporter.type.getSubOptions [ ] ? port
) (options.services.prometheus.exporters.type.getSubOptions [ ])
