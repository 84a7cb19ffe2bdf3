# Finds mistakes in the options at evaluation. Each message says what to do.
{ config, lib, ... }:
let
  cfg = config.within.services.aegis;
  option = "within.services.aegis";

  inherit (import ./address.nix { inherit lib; }) parseHostport prefixProblem;
  address = parseHostport cfg.hostport;

  under = lib.any (dir: cfg.sockdir == dir || lib.hasPrefix "${dir}/" cfg.sockdir);
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

  allowingNobody = lib.attrNames (
    lib.filterAttrs (
      _: target: target.allow != null && target.allow.addresses == [ ] && target.allow.certificates == [ ]
    ) cfg.targets
  );

  # Options that let other hosts connect. On a loopback address they have no effect.
  remoteOptions =
    lib.optional cfg.openFirewall "openFirewall"
    ++ lib.optional (cfg.firewallInterfaces != [ ]) "firewallInterfaces"
    ++ lib.optional (cfg.allowedScrapers != [ ]) "allowedScrapers";
in
{
  assertions =
    lib.optional (enabledExporters != [ ]) {
      assertion = cfg.enable;
      message = ''
        ${option}.exporters.${lib.head enabledExporters}.enable runs the exporter behind Aegis, but Aegis is not enabled.
        Set ${option}.enable = true, or use only services.prometheus.exporters.${lib.head enabledExporters}.
      '';
    }
    ++ lib.optionals cfg.enable (
      [
        {
          assertion = address != null;
          message = ''
            ${option}.hostport is "${cfg.hostport}", which is not an address with a port.
            Write an IPv4 address and a port, such as "10.100.0.2:31337", or an IPv6 address in brackets and a port, such as
            "[fda2::2]:31337". The port must be from 1 to 65535. Host names are not accepted.
          '';
        }
        {
          assertion = builtins.match "(/[A-Za-z0-9_@:+-][A-Za-z0-9._@:+-]*)+" cfg.sockdir != null;
          message = ''
            ${option}.sockdir is "${cfg.sockdir}", which is not a path that Aegis accepts.
            Write an absolute path without a trailing slash, such as "/srv/within/run". It may contain only letters, digits and
            . _ - @ : + and none of its parts may begin with a dot.
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
            ${option}.sockdir is "${cfg.sockdir}", which the service cannot see.
            Choose another directory, such as "/srv/within/run" or "/run/metrics".
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
            ${option}.sockdir is "${cfg.sockdir}", but the service cannot see home directories (ProtectHome=true).
            Choose another directory, such as "/srv/within/run", or let the service see them:
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
            ${option}.sockdir is "${cfg.sockdir}", but the service has its own /tmp and /var/tmp (PrivateTmp=).
            Every user can create files there, so choose another directory, such as "/srv/within/run". If you accept that, set:
              systemd.services.aegis.serviceConfig.PrivateTmp = false;
          '';
        }
        {
          assertion = cfg.openFirewall -> cfg.firewallInterfaces == [ ];
          message = ''
            ${option}.openFirewall opens the port on every interface, but ${option}.firewallInterfaces only on ${lib.concatStringsSep ", " cfg.firewallInterfaces}.
            Set only one of the two.
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
          ${option}.targets.${name}.allow is empty, so nobody may scrape ${name}.
          If everybody may, remove allow. If nobody may, set enabled = false instead.
        '';
      }) allowingNobody
    );

  warnings = lib.optionals cfg.enable (
    lib.optional (address != null && address.loopback && remoteOptions != [ ]) ''
      ${option}.hostport is "${cfg.hostport}", which only this host can reach, so ${lib.concatStringsSep " and " remoteOptions} will have no effect.
      For a Prometheus on another host, set hostport to an address that it can reach.
    ''
    ++ lib.concatMap (
      name:
      lib.optional config.services.prometheus.exporters.${name}.openFirewall ''
        services.prometheus.exporters.${name}.openFirewall opens TCP port ${
          toString config.services.prometheus.exporters.${name}.port
        }, but the exporter no longer listens there:
        ${option}.exporters.${name} moved it to ${cfg.sockdir}/${name}.sock.
      ''
    ) enabledExporters
  );
}
