# Every mistake the module finds, with what it says, and what it lets pass.
{
  enabled,
  with',
  failing,
  ...
}:
let
  says = config: failing config ++ config.warnings;
  fails = config: message: {
    expr = says config;
    expected = [ message ];
  };
  passes = config: {
    expr = says config;
    expected = [ ];
  };
in
{
  testHostportOfAName = fails (enabled { hostport = "localhost:31337"; }) ''
    within.services.aegis.hostport is "localhost:31337", which is no address and port.
    Write an IPv4 address and a port, "10.100.0.2:31337", or an IPv6 address in brackets and a port,
    "[fda2::2]:31337". The port is from 1 to 65535. Host names are not taken: write the address.
  '';

  testAllowOfNobody = fails (enabled { targets.billing.allow = { }; }) ''
    within.services.aegis.targets.billing.allow names nobody.
    Leave it out where everyone may scrape billing, or set enabled = false.
  '';

  testSockdirThatIsRelative = fails (enabled { sockdir = "run"; }) ''
    within.services.aegis.sockdir is "run", which is no folder Aegis can be given.
    Write an absolute path without a slash at its end, such as "/srv/within/run", of letters, digits and . _ - @ : +
    only, no part of it beginning with a dot.
  '';
  testSockdirs = {
    expr =
      map
        (
          sockdir:
          failing (enabled {
            inherit sockdir;
          }) == [ ]
        )
        [
          "/srv/within/run"
          "/run/metrics"
          "/homes/run"
          "/srv/with space"
          "/srv/../home"
          "/srv/within/run/"
          "/srv/%i"
          "/srv/$HOME"
          ""
          "/"
        ];
    expected = [
      true
      true
      true
      false
      false
      false
      false
      false
      false
      false
    ];
  };

  testSockdirInRunUser = fails (enabled { sockdir = "/run/user/1000/metrics"; }) ''
    within.services.aegis.sockdir is "/run/user/1000/metrics", which the service of Aegis never sees.
    Choose a folder such as "/srv/within/run" or "/run/metrics".
  '';

  testSockdirInHome = fails (enabled { sockdir = "/home/cadey/run"; }) ''
    within.services.aegis.sockdir is "/home/cadey/run", and the service of Aegis does not see homes (ProtectHome=true).
    Choose a folder such as "/srv/within/run", or let it see them:
      systemd.services.aegis.serviceConfig.ProtectHome = "read-only";
  '';
  testSockdirInHomeThatIsSeen = passes (
    with' {
      enable = true;
      sockdir = "/home/cadey/run";
    } { systemd.services.aegis.serviceConfig.ProtectHome = "read-only"; }
  );

  testSockdirInTmp = fails (enabled { sockdir = "/var/tmp/run"; }) ''
    within.services.aegis.sockdir is "/var/tmp/run", and the service of Aegis has temporary folders of its own (PrivateTmp=).
    Everyone may make files there, so choose a folder such as "/srv/within/run"; or, if you know better:
      systemd.services.aegis.serviceConfig.PrivateTmp = false;
  '';
  testSockdirInTmpThatIsSeen = passes (
    with' {
      enable = true;
      sockdir = "/tmp/run";
    } { systemd.services.aegis.serviceConfig.PrivateTmp = false; }
  );

  testFirewallTwice =
    fails
      (enabled {
        hostport = "[::]:31337";
        openFirewall = true;
        firewallInterfaces = [
          "wg0"
          "wg1"
        ];
      })
      ''
        within.services.aegis.openFirewall opens the port on every interface, within.services.aegis.firewallInterfaces on wg0, wg1 only.
        Set one of the two.
      '';

  testScraperThatIsNone =
    fails
      (enabled {
        hostport = "[::]:31337";
        allowedScrapers = [
          "10.100.0.1"
          "prometheus.example.org"
        ];
      })
      ''
        within.services.aegis.allowedScrapers has "prometheus.example.org", which is neither an address nor a prefix such as 10.100.0.0/24 or fda2::/16.
      '';
  testScraperWithHostBits =
    fails
      (enabled {
        hostport = "[::]:31337";
        allowedScrapers = [ "10.100.0.1/24" ];
      })
      ''
        within.services.aegis.allowedScrapers has "10.100.0.1/24", which has bits set behind its length: write the network's first address, or the address alone.
      '';

  testExporterWithoutAegis = fails (with' { exporters.node.enable = true; } { }) ''
    within.services.aegis.exporters.node.enable moves the exporter behind Aegis, which is not enabled.
    Set within.services.aegis.enable = true, or use services.prometheus.exporters.node alone.
  '';

  # Warnings: it would work, and not do what was meant.
  testLoopbackForOthers =
    fails
      (enabled {
        firewallInterfaces = [ "wg0" ];
        allowedScrapers = [ "10.100.0.1" ];
      })
      ''
        within.services.aegis.hostport is "[::1]:31337", where only this host connects, so firewallInterfaces and allowedScrapers will let nobody else in.
        For a Prometheus on another host, set hostport to the address that it reaches.
      '';
  testExporterWithAnOpenPort =
    fails
      (with' {
        enable = true;
        exporters.node.enable = true;
      } { services.prometheus.exporters.node.openFirewall = true; })
      ''
        services.prometheus.exporters.node.openFirewall opens TCP port 9100, where nobody listens any more:
        within.services.aegis.exporters.node has moved the exporter to /srv/within/run/node.sock.
      '';
}
