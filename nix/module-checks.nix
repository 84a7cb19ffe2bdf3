# Finds mistakes in the options at evaluation. Each message says what to do.
{ config, lib, ... }:
let
  inherit (lib) concatMap optional optionals;
  inherit (lib.strings) escapeNixIdentifier;

  cfg = config.within.services.aegis;
  option = "within.services.aegis";

  inherit (import ./address.nix { inherit lib; }) familyOf parseHostport prefixProblem;
  inherit (import ./target-problems.nix { inherit lib; }) targetProblems;
  address = parseHostport cfg.hostport;

  service = config.systemd.services.aegis.serviceConfig;
  isOff =
    value:
    lib.elem value [
      false
      "false"
      "no"
      "off"
    ];

  # Problems of a path that the service cannot see, the value of the option called name.
  # other says what to choose instead.
  visibilityProblems =
    name: path: other:
    let
      under = dirs: builtins.match "(${dirs})(/.*)?" path != null;
    in
    optional (under "/dev|/proc|/run/dbus|/run/user|/sys") ''
      ${option}.${name} is "${path}", which the service cannot see.
      Choose another ${other}.
    ''
    ++
      optional
        (under "/home|/root" && !isOff service.ProtectHome && service.ProtectHome != "read-only")
        ''
          ${option}.${name} is "${path}", but the service cannot see home directories (ProtectHome=true).
          Choose another ${other}, or let the service see them:
            systemd.services.aegis.serviceConfig.ProtectHome = "read-only";
        ''
    ++ optional (under "/tmp|/var/tmp" && !isOff service.PrivateTmp) ''
      ${option}.${name} is "${path}", but the service has its own /tmp and /var/tmp (PrivateTmp=).
      Every user can create files there, so choose another ${other}. If you accept that, set:
        systemd.services.aegis.serviceConfig.PrivateTmp = false;
    '';

  # Problems of a directory, the value of the option called name.
  directoryProblems =
    name: path:
    optional (builtins.match "(/[A-Za-z0-9_@:+-][A-Za-z0-9._@:+-]*)+" path == null) ''
      ${option}.${name} is "${path}", which is not a path that Aegis accepts.
      Write an absolute path without a trailing slash, such as "/srv/within/run". It may contain only letters, digits and
      . _ - @ : + and none of its parts may begin with a dot.
    ''
    ++ visibilityProblems name path ''directory, such as "/srv/within/run"'';

  webFileProblems =
    path:
    # systemd expands %d to the directory of the service's credentials.
    optional
      (
        builtins.match ''(%d)?(/[^/%$"'\[:cntrl:]]+)+'' path == null
        || lib.elem ".." (lib.splitString "/" path)
      )
      ''
        ${option}.webConfigFile is ${builtins.toJSON path}, which is not a path that Aegis accepts.
        Write an absolute path, such as "/etc/aegis/web.yml", or "%d/NAME" for a credential of the service. It may not contain
        % otherwise, nor "..", $, quotes, backslashes or line breaks.
      ''
    ++ visibilityProblems "webConfigFile" path ''path, such as "/etc/aegis/web.yml"'';

  socketProblems =
    name:
    visibilityProblems "targets.${escapeNixIdentifier name}.socket" cfg.targets.${name}.socket
      ''path, such as "/run/${name}/metrics.sock"'';

  problems =
    optional (address == null) ''
      ${option}.hostport is "${cfg.hostport}", which is not an address with a port.
      Write an IPv4 address and a port, such as "10.100.0.2:31337", or an IPv6 address in brackets and a port, such as
      "[fda2::2]:31337". The port must be from 1 to 65535. Host names are not accepted.
    ''
    ++ optional (cfg.openFirewall && cfg.firewallInterfaces != [ ]) ''
      ${option}.openFirewall opens the port on every interface, but ${option}.firewallInterfaces only on ${lib.concatStringsSep ", " cfg.firewallInterfaces}.
      Set only one of the two.
    ''
    ++ directoryProblems "sockdir" cfg.sockdir
    ++ optionals (cfg.varlinkdir != null) (directoryProblems "varlinkdir" cfg.varlinkdir)
    ++ optionals (cfg.webConfigFile != null) (webFileProblems cfg.webConfigFile)
    ++ concatMap socketProblems (
      lib.attrNames (lib.filterAttrs (_: target: target.socket != null) cfg.targets)
    )
    ++ map (prefix: ''
      ${option}.allowedScrapers has "${prefix}", which ${prefixProblem prefix}.
    '') (lib.filter (prefix: prefixProblem prefix != null) cfg.allowedScrapers)
    ++ concatMap (
      flag:
      let
        parts = builtins.match "(-[^= ]+) +(.*)" flag;
      in
      optional (parts != null) ''
        ${option}.extraFlags has ${builtins.toJSON flag}, but a flag and its value are two arguments.
        Write ${builtins.toJSON (lib.concatStringsSep "=" parts)}.
      ''
    ) cfg.extraFlags
    ++ map (problem: "${option}.${problem}\n") (targetProblems cfg.targets);

  # Options that let other hosts connect. On a loopback address they have no effect.
  remoteOptions =
    optional cfg.openFirewall "openFirewall"
    ++ optional (cfg.firewallInterfaces != [ ]) "firewallInterfaces"
    ++ optional (cfg.allowedScrapers != [ ]) "allowedScrapers";

  # Prefixes that no address can match. [::] accepts both families. Loopback addresses are
  # not worth a warning: they are in configurations for all hosts.
  otherFamily = optionals (address != null && !address.loopback && address.host != "[::]") (
    lib.filter (
      prefix:
      prefixProblem prefix == null
      && familyOf prefix != address.family
      && prefix != "::1"
      && !lib.hasPrefix "127." prefix
    ) cfg.allowedScrapers
  );

  certificateTargets = lib.attrNames (
    lib.filterAttrs (_: target: (target.allow.certificates or [ ]) != [ ]) cfg.targets
  );
in
{
  assertions = map (message: {
    assertion = false;
    inherit message;
  }) (optionals cfg.enable problems);

  warnings = optionals cfg.enable (
    optional (address != null && address.loopback && remoteOptions != [ ]) ''
      ${option}.hostport is "${cfg.hostport}", which only this host can reach, so ${lib.concatStringsSep " and " remoteOptions} will have no effect.
      For a Prometheus on another host, set hostport to an address that it can reach.
    ''
    ++ optional (address != null && address.family == "IPv6" && !config.networking.enableIPv6) ''
      ${option}.hostport is "${cfg.hostport}", but networking.enableIPv6 is false, so nobody can connect.
      Set hostport to an IPv4 address, such as "127.0.0.1:${toString address.port}".
    ''
    ++ optional (otherFamily != [ ]) ''
      ${option}.allowedScrapers has ${lib.concatStringsSep " and " otherFamily}, but ${option}.hostport is "${cfg.hostport}", so no ${familyOf (lib.head otherFamily)} address matches.
      Set hostport to "[::]:${toString address.port}", which accepts IPv4 and IPv6, or remove what cannot match.
    ''
    ++ optional (certificateTargets != [ ] && cfg.webConfigFile == null) ''
      ${option}.targets.${escapeNixIdentifier (lib.head certificateTargets)}.allow names certificates, but ${option}.webConfigFile is not set, so Aegis verifies none.
      Set webConfigFile to a file with client_auth_type: RequireAndVerifyClientCert.
    ''
  );
}
