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
    expected = names units.socket;
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

  # Only a change to the settings of the socket unit restarts the socket.
  testRebind =
    let
      settings = config: config.systemd.services.aegis-rebind.environment.SETTINGS;
      changed = change: settings (enabled change) != settings config;
    in
    {
      expr = map changed [
        { hostport = "[::1]:31338"; }
        { allowedScrapers = [ "::1" ]; }
        { sockdir = "/run/metrics"; }
        { }
      ];
      expected = [
        true
        true
        false
        false
      ];
    };
}
