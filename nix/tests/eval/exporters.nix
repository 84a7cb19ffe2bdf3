# NixOS' exporters behind Aegis.
{ enabled, lib, ... }:
let
  config = enabled {
    sockdir = "/run/metrics";
    exporters.node.enable = true;
  };
  unit = "prometheus-node-exporter";
in
{
  testExporter = {
    expr = {
      inherit (config.services.prometheus.exporters.node) enable extraFlags;
      inherit (config.systemd.sockets.${unit}) listenStreams socketConfig wantedBy;
      inherit (config.systemd.services.${unit}) after requires;
    };
    expected = {
      enable = true;
      extraFlags = [ "--web.systemd-socket" ];
      listenStreams = [ "/run/metrics/node.sock" ];
      socketConfig = {
        SocketGroup = "within";
        SocketMode = "0660";
        RemoveOnStop = true;
      };
      wantedBy = [ "sockets.target" ];
      after = [ "${unit}.socket" ];
      requires = [ "${unit}.socket" ];
    };
  };

  testOtherExportersDoNotChange = {
    expr = {
      enabled = lib.attrNames (
        lib.filterAttrs (_: exporter: exporter.enable) config.services.prometheus.exporters
      );
      sockets = lib.attrNames config.systemd.sockets;
    };
    expected = {
      enabled = [ "node" ];
      sockets = [
        "aegis"
        unit
      ];
    };
  };

  testEachExporter = {
    expr = map (name: lib.attrNames (enabled { exporters.${name}.enable = true; }).systemd.sockets) (
      import ../../exporters.nix
    );
    expected = map (name: [
      "aegis"
      "prometheus-${name}-exporter"
    ]) (import ../../exporters.nix);
  };
}
