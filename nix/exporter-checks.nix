# Finds mistakes in the options of exporters and forwards at evaluation. Each message
# says what to do.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) concatMap optional optionals;

  cfg = config.within.services.aegis;
  option = "within.services.aegis";
  exporters = config.services.prometheus.exporters;
  available = import ./available-exporters.nix { inherit lib options; };
  isAvailable = name: available ? ${name};

  inherit (import ./address.nix { inherit lib; }) parseHostport;
  inherit (import ./target-problems.nix { inherit lib; }) nameProblem;

  wanted = lib.attrNames (lib.filterAttrs (_: exporter: exporter.enable) cfg.exporters);
  isActivated = name: lib.elem name (import ./exporters.nix);
  # NixOS has these, and another module has not turned them off.
  enabled = lib.filter (name: isAvailable name && exporters.${name}.enable) wanted;

  forwards = lib.attrNames cfg.forward;
  nameProblemOf = name: nameProblem name { socket = null; };

  # systemd accepts no longer paths of sockets.
  isTooLong = name: lib.stringLength "${cfg.sockdir}/${name}.sock" > 107;
in
{
  assertions =
    optional (wanted != [ ]) {
      assertion = cfg.enable;
      message = ''
        ${option}.exporters.${lib.head wanted}.enable runs the exporter behind Aegis, but Aegis is not enabled.
        Set ${option}.enable = true, or use only services.prometheus.exporters.${lib.head wanted}.
      '';
    }
    ++ optionals cfg.enable (
      map (name: {
        assertion = isAvailable name;
        message = ''
          ${option}.exporters has "${name}", but NixOS has no option services.prometheus.exporters.${name}.
          Correct the name. For a program that NixOS has no exporter for, set ${option}.forward.${name} to its address and port.
        '';
      }) wanted
      ++ map (name: {
        assertion = !lib.elem name forwards;
        message = ''
          ${option}.forward.${name} and ${option}.exporters.${name}.enable both make ${name}.sock.
          Remove one of the two.
        '';
      }) enabled
      ++ concatMap (name: [
        {
          assertion = nameProblemOf name == null;
          message = ''
            ${option}.forward ${toString (nameProblemOf name)}
          '';
        }
        {
          assertion = !(parseHostport cfg.forward.${name}).wildcard or true;
          message = ''
            ${option}.forward.${name} is "${cfg.forward.${name}}", which is not the address and port of a program.
            Write where the program listens, such as "127.0.0.1:9187" or "[::1]:9187". Host names are not accepted.
          '';
        }
      ]) forwards
      ++ map (name: {
        assertion = !isTooLong name;
        message = ''
          ${cfg.sockdir}/${name}.sock is longer than the 107 bytes that systemd accepts as the path of a socket.
          Choose a shorter ${option}.sockdir.
        '';
      }) (enabled ++ forwards)
    );

  warnings = optionals cfg.enable (
    concatMap (
      name:
      optional exporters.${name}.openFirewall ''
        services.prometheus.exporters.${name}.openFirewall opens TCP port ${toString exporters.${name}.port}, but ${option}.exporters.${name} moved the
        exporter to ${cfg.sockdir}/${name}.sock${lib.optionalString (!isActivated name) " and its port to loopback"}. Remove openFirewall.
      ''
    ) enabled
    ++ map (name: ''
      ${option}.exporters.${name}.enable is true, but another module sets services.prometheus.exporters.${name}.enable to false, so
      there is no target ${name}. Remove one of the two.
    '') (lib.filter (name: isAvailable name && !exporters.${name}.enable) wanted)
  );
}
