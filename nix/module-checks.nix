# What can be wrong with the settings of Aegis on NixOS, found at evaluation and
# said in words to act on.
{ config, lib, ... }:
let
  cfg = config.within.services.aegis;
  option = "within.services.aegis";

  inherit (import ./address.nix { inherit lib; }) parseHostport prefixProblem;
  address = parseHostport cfg.hostport;

  under = lib.any (folder: cfg.sockdir == folder || lib.hasPrefix "${folder}/" cfg.sockdir);
  service = config.systemd.services.aegis.serviceConfig;
  isOff =
    value:
    lib.elem value [
      false
      "false"
      "no"
      "off"
    ];

  enabledExporters = lib.attrNames (lib.filterAttrs (_: exporter: exporter.enable) cfg.exporters);

  badPrefixes = lib.filter (prefix: prefixProblem prefix != null) cfg.allowedScrapers;

  forNobody = lib.attrNames (
    lib.filterAttrs (
      _: target: target.allow != null && target.allow.addresses == [ ] && target.allow.certificates == [ ]
    ) cfg.targets
  );

  # For others there is nothing behind the port, so what lets them in is a mistake.
  forOthers =
    lib.optional cfg.openFirewall "openFirewall"
    ++ lib.optional (cfg.firewallInterfaces != [ ]) "firewallInterfaces"
    ++ lib.optional (cfg.allowedScrapers != [ ]) "allowedScrapers";
in
{
  assertions =
    lib.optional (enabledExporters != [ ]) {
      assertion = cfg.enable;
      message = ''
        ${option}.exporters.${lib.head enabledExporters}.enable moves the exporter behind Aegis, which is not enabled.
        Set ${option}.enable = true, or use services.prometheus.exporters.${lib.head enabledExporters} alone.
      '';
    }
    ++ lib.optionals cfg.enable (
      [
        {
          assertion = address != null;
          message = ''
            ${option}.hostport is "${cfg.hostport}", which is no address and port.
            Write an IPv4 address and a port, "10.100.0.2:31337", or an IPv6 address in brackets and a port,
            "[fda2::2]:31337". The port is from 1 to 65535. Host names are not taken: write the address.
          '';
        }
        {
          assertion = builtins.match "(/[A-Za-z0-9_@:+-][A-Za-z0-9._@:+-]*)+" cfg.sockdir != null;
          message = ''
            ${option}.sockdir is "${cfg.sockdir}", which is no folder Aegis can be given.
            Write an absolute path without a slash at its end, such as "/srv/within/run", of letters, digits and . _ - @ : +
            only, no part of it beginning with a dot.
          '';
        }
        {
          assertion =
            !under [
              "/dev"
              "/proc"
              "/run/dbus"
              "/run/user"
              "/sys"
            ];
          message = ''
            ${option}.sockdir is "${cfg.sockdir}", which the service of Aegis never sees.
            Choose a folder such as "/srv/within/run" or "/run/metrics".
          '';
        }
        {
          assertion =
            under [
              "/home"
              "/root"
            ]
            -> isOff service.ProtectHome || service.ProtectHome == "read-only";
          message = ''
            ${option}.sockdir is "${cfg.sockdir}", and the service of Aegis does not see homes (ProtectHome=true).
            Choose a folder such as "/srv/within/run", or let it see them:
              systemd.services.aegis.serviceConfig.ProtectHome = "read-only";
          '';
        }
        {
          assertion =
            under [
              "/tmp"
              "/var/tmp"
            ]
            -> isOff service.PrivateTmp;
          message = ''
            ${option}.sockdir is "${cfg.sockdir}", and the service of Aegis has temporary folders of its own (PrivateTmp=).
            Everyone may make files there, so choose a folder such as "/srv/within/run"; or, if you know better:
              systemd.services.aegis.serviceConfig.PrivateTmp = false;
          '';
        }
        {
          assertion = cfg.openFirewall -> cfg.firewallInterfaces == [ ];
          message = ''
            ${option}.openFirewall opens the port on every interface, ${option}.firewallInterfaces on ${lib.concatStringsSep ", " cfg.firewallInterfaces} only.
            Set one of the two.
          '';
        }
      ]
      ++ map (prefix: {
        assertion = false;
        message = ''
          ${option}.allowedScrapers has "${prefix}", which ${prefixProblem prefix}.
        '';
      }) badPrefixes
      ++ map (name: {
        assertion = false;
        message = ''
          ${option}.targets.${name}.allow names nobody.
          Leave it out where everyone may scrape ${name}, or set enabled = false.
        '';
      }) forNobody
    );

  warnings = lib.optionals cfg.enable (
    lib.optional (address != null && address.loopback && forOthers != [ ]) ''
      ${option}.hostport is "${cfg.hostport}", where only this host connects, so ${lib.concatStringsSep " and " forOthers} will let nobody else in.
      For a Prometheus on another host, set hostport to the address that it reaches.
    ''
    ++ lib.concatMap (
      name:
      lib.optional config.services.prometheus.exporters.${name}.openFirewall ''
        services.prometheus.exporters.${name}.openFirewall opens TCP port ${
          toString config.services.prometheus.exporters.${name}.port
        }, where nobody listens any more:
        ${option}.exporters.${name} has moved the exporter to ${cfg.sockdir}/${name}.sock.
      ''
    ) enabledExporters
  );
}
