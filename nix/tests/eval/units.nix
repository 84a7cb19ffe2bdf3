# The units that the module gives to NixOS are those in nix/systemd, which the
# end-to-end test boots.
{ enabled, lib, ... }:
let
  config = enabled { };
  inherit (config.systemd) services sockets;
  units = import ../../units.nix { exe = "/usr/local/bin/aegis"; };
  names =
    attrs:
    lib.attrNames (
      removeAttrs attrs [
        "socketConfig"
        "serviceConfig"
      ]
    );
in
{
  testRendered = {
    expr = import ../../systemd/render.nix {
      units = {
        socket = sockets.aegis;
        service = services.aegis;
      };
    };
    expected =
      lib.genAttrs
        [
          "aegis-forward-node.service"
          "aegis-forward-node.socket"
          "aegis.service"
          "aegis.socket"
        ]
        (unit: builtins.readFile (../../systemd + "/${unit}"));
  };

  # The module sets no attributes that the rendering ignores.
  testNoOtherSocketAttributes = {
    expr = names sockets.aegis;
    expected = lib.naturalSort (names units.socket ++ [ "before" ]);
  };
  testNoOtherServiceAttributes = {
    expr = names services.aegis;
    expected = lib.naturalSort (names units.service ++ [
        "reloadTriggers"
        "stopIfChanged"
      ]);
  };
  testNoOtherUnits = {
    expr = {
      services = lib.attrNames services;
      sockets = lib.attrNames sockets;
    };
    expected = {
      services = [
        "aegis"
        "aegis-rebind"
      ];
      sockets = [ "aegis" ];
    };
  };

  testSwitchKeepsTheSocket = {
    expr = services.aegis.stopIfChanged;
    expected = false;
  };

  # A change to the settings of a socket unit restarts the socket, even if its service is
  # idle. Nothing else does.
  testRebind =
    let
      # The sockets whose settings differ between an empty configuration and another.
      restarted =
        before: after:
        let
          lines = settings: lib.splitString "\n" (rebind (enabled settings)).environment.SETTINGS.text;
          socketOf = line: lib.head (lib.splitString " " line);
        in
        map socketOf (lib.subtractLists (lines before) (lines after));
      rebind = config: config.systemd.services.aegis-rebind;
      both = {
        forward.app = "127.0.0.1:1";
        exporters.node.enable = true;
      };
    in
    {
      expr = map (change: restarted both (both // change)) [
        { hostport = "[::1]:31338"; }
        { allowedScrapers = [ "::1" ]; }
        { sockdir = "/run/metrics"; }
        { forward.app = "127.0.0.1:2"; }
        { logLevel = "debug"; }
      ];
      expected = [
        [ "aegis.socket" ]
        [ "aegis.socket" ]
        [
          "aegis-forward-app.socket"
          "prometheus-node-exporter.socket"
        ]
        [ ]
        [ ]
      ];
    };
}
