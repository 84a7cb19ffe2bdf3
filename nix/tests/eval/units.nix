# What the module hands to NixOS for the two units is what nix/systemd holds, and
# so what the end-to-end test boots.
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
    expected = lib.genAttrs [ "aegis.service" "aegis.socket" ] (
      unit: builtins.readFile (../../systemd + "/${unit}")
    );
  };

  # And nothing beside it that the rendering does not know.
  testSocketHasNoMore = {
    expr = names sockets.aegis;
    expected = names units.socket;
  };
  testServiceHasNoMore = {
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

  testKeepsItsSocketOverASwitch = {
    expr = services.aegis.stopIfChanged;
    expected = false;
  };

  # A change of what the socket unit says, and no other, opens it anew.
  testRebinds =
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
