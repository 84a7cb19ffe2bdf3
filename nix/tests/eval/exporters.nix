# NixOS' exporters behind Aegis.
{
  enabled,
  with',
  lib,
  ...
}:
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
      inherit (config.systemd.services.${unit})
        after
        requires
        serviceConfig
        startLimitIntervalSec
        stopIfChanged
        ;
    };
    expected = {
      enable = true;
      extraFlags = [ "--web.systemd-socket" ];
      listenStreams = [ "/run/metrics/node.sock" ];
      socketConfig = {
        SocketGroup = "within";
        SocketMode = "0660";
        RemoveOnStop = true;
        TriggerLimitIntervalSec = 0;
      };
      wantedBy = [ "sockets.target" ];
      after = [ "${unit}.socket" ];
      requires = [ "${unit}.socket" ];
      serviceConfig.RestartSec = "1s";
      startLimitIntervalSec = 0;
      stopIfChanged = false;
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
      (import ../../exporter-facts.nix).acceptListener
    );
    expected = map (name: [
      "aegis"
      "prometheus-${name}-exporter"
    ]) (import ../../exporter-facts.nix).acceptListener;
  };

  # If NixOS makes socket units for exporters itself, their TCP port closes, and the flag is
  # not there twice. A definition that does not listen is none.
  testExporterActivatedByNixos =
    let
      node =
        socket:
        let
          config = with' {
            enable = true;
            exporters.node.enable = true;
          } { systemd.sockets.${unit} = socket; };
        in
        {
          inherit (config.services.prometheus.exporters.node) extraFlags;
          inherit (config.systemd.sockets.${unit}) description listenStreams;
        };
      listenStreams = [ "0.0.0.0:9100" ];
    in
    {
      expr = map node [
        {
          inherit listenStreams;
          description = "Socket of NixOS";
        }
        (lib.mkIf true { inherit listenStreams; })
        { socketConfig.SocketMode = "0666"; }
        { listenStreams = [ ]; }
        (lib.mkIf false { inherit listenStreams; })
        { listenStreams = lib.mkIf false listenStreams; }
      ];
      expected =
        let
          unitWith =
            description: extraFlags: {
              inherit description extraFlags;
              listenStreams = [ "/srv/within/run/node.sock" ];
            };
        in
        [
          (unitWith "Socket of NixOS" [ ])
          (unitWith "Socket of node for Aegis" [ ])
        ]
        ++ lib.genList (_: unitWith "Socket of node for Aegis" [ "--web.systemd-socket" ]) 4;
    };

  # An exporter that cannot accept a listener stays on loopback.
  testForwardedExporter =
    let
      config = enabled { exporters.process.enable = true; };
    in
    {
      expr = {
        inherit (config.services.prometheus.exporters.process) enable extraFlags listenAddress;
        inherit (config.systemd.services.prometheus-process-exporter) serviceConfig startLimitIntervalSec;
        inherit (config.systemd.sockets.aegis-forward-process) listenStreams socketConfig;
        inherit (config.systemd.services.aegis-forward-process.serviceConfig) ExecStart IPAddressAllow;
        inherit (config.systemd.services.aegis-forward-process) stopIfChanged;
        sockets = lib.attrNames config.systemd.sockets;
      };
      expected = {
        enable = true;
        extraFlags = [ ];
        listenAddress = "127.0.0.1";
        serviceConfig.RestartSec = "1s";
        startLimitIntervalSec = 0;
        listenStreams = [ "/srv/within/run/process.sock" ];
        inherit ((enabled { exporters.node.enable = true; }).systemd.sockets.${unit}) socketConfig;
        ExecStart = "/packages/systemd/lib/systemd/systemd-socket-proxyd --exit-idle-time=5min 127.0.0.1:9256";
        IPAddressAllow = "127.0.0.1";
        stopIfChanged = false;
        sockets = [
          "aegis"
          "aegis-forward-process"
        ];
      };
    };

  # Where the proxy connects follows the options of the exporter.
  testForwardedAddress = {
    expr =
      lib.mapAttrsToList
        (
          name:
          map (
            settings:
            let
              config = with' {
                enable = true;
                exporters.${name}.enable = true;
              } { services.prometheus.exporters.${name} = settings; };
              inherit (config.systemd.services."aegis-forward-${name}".serviceConfig) ExecStart;
            in
            lib.last (lib.splitString " " ExecStart)
          )
        )
        {
          dnssec = [
            { }
            { listenAddress = "127.0.0.1:99"; }
            { listenAddress = lib.mkForce null; }
          ];
          fail2ban = [
            { }
            { host = "10.0.0.1"; }
          ];
          process = [
            { port = 9; }
            { listenAddress = "10.0.0.1"; }
            { listenAddress = "[::1]"; }
            { listenAddress = "::1"; }
            { listenAddress = "localhost"; }
            { listenAddress = "0.0.0.0"; }
            { listenAddress = ""; }
          ];
        };
    expected = [
      [
        "127.0.0.1:9204"
        "127.0.0.1:99"
        "127.0.0.1:9204"
      ]
      [
        "127.0.0.1:9191"
        "10.0.0.1:9191"
      ]
      [
        "127.0.0.1:9"
        "10.0.0.1:9256"
        "[::1]:9256"
        "[::1]:9256"
        "127.0.0.1:9256"
        "127.0.0.1:9256"
        "127.0.0.1:9256"
      ]
    ];
  };

  testPaths = {
    expr =
      let
        inherit
          (
            (with'
              {
                enable = true;
                exporters = lib.genAttrs [ "node" "nut" "postgres" "process" "xray" ] (_: {
                  enable = true;
                });
                targets.process.timeout = "5s";
              }
              {
                services.prometheus.exporters.postgres.telemetryPath = "/pg";
                within.services.aegis.targets.xray.path = "/other";
              }
            ).within.services.aegis
          )
          targets
          ;
      in
      lib.mapAttrs (_: target: target.path) targets;
    expected = {
      nut = "/ups_metrics";
      postgres = "/pg";
      process = null;
      xray = "/other";
    };
  };

  testForward =
    let
      inherit ((enabled { forward.app = "[::1]:9187"; }).systemd) services sockets;
    in
    {
      expr = {
        inherit (sockets.aegis-forward-app) listenStreams;
        inherit (services.aegis-forward-app) requires;
        inherit (services.aegis-forward-app.serviceConfig) ExecStart IPAddressAllow IPAddressDeny;
      };
      expected = {
        listenStreams = [ "/srv/within/run/app.sock" ];
        requires = [ "aegis-forward-app.socket" ];
        ExecStart = "/packages/systemd/lib/systemd/systemd-socket-proxyd --exit-idle-time=5min [::1]:9187";
        IPAddressAllow = "::1";
        IPAddressDeny = "any";
      };
    };
}
