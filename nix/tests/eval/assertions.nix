# Every mistake that the module reports, with its message, and similar configurations
# that it accepts.
{
  enabled,
  with',
  failing,
  ...
}:
let
  messages = config: failing config ++ config.warnings;
  fails = config: message: {
    expr = messages config;
    expected = [ message ];
  };
  passes = config: {
    expr = messages config;
    expected = [ ];
  };
in
{
  testHostportWithHostName = fails (enabled { hostport = "localhost:31337"; }) ''
    within.services.aegis.hostport is "localhost:31337", which is not an address with a port.
    Write an IPv4 address and a port, such as "10.100.0.2:31337", or an IPv6 address in brackets and a port, such as
    "[fda2::2]:31337". The port must be from 1 to 65535. Host names are not accepted.
  '';

  testEmptyAllow = fails (enabled { targets.billing.allow = { }; }) ''
    within.services.aegis.targets.billing.allow is empty, so nobody may scrape billing.
    If everybody may, remove allow. If nobody may, set enabled = false instead.
  '';

  testRelativeSockdir = fails (enabled { sockdir = "run"; }) ''
    within.services.aegis.sockdir is "run", which is not a path that Aegis accepts.
    Write an absolute path without a trailing slash, such as "/srv/within/run". It may contain only letters, digits and
    . _ - @ : + and none of its parts may begin with a dot.
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
    within.services.aegis.sockdir is "/run/user/1000/metrics", which the service cannot see.
    Choose another directory, such as "/srv/within/run" or "/run/metrics".
  '';

  testSockdirInHome = fails (enabled { sockdir = "/home/cadey/run"; }) ''
    within.services.aegis.sockdir is "/home/cadey/run", but the service cannot see home directories (ProtectHome=true).
    Choose another directory, such as "/srv/within/run", or let the service see them:
      systemd.services.aegis.serviceConfig.ProtectHome = "read-only";
  '';
  testSockdirInVisibleHome = passes (
    with' {
      enable = true;
      sockdir = "/home/cadey/run";
    } { systemd.services.aegis.serviceConfig.ProtectHome = "read-only"; }
  );

  testSockdirInTmp = fails (enabled { sockdir = "/var/tmp/run"; }) ''
    within.services.aegis.sockdir is "/var/tmp/run", but the service has its own /tmp and /var/tmp (PrivateTmp=).
    Every user can create files there, so choose another directory, such as "/srv/within/run". If you accept that, set:
      systemd.services.aegis.serviceConfig.PrivateTmp = false;
  '';
  testSockdirInSharedTmp = passes (
    with' {
      enable = true;
      sockdir = "/tmp/run";
    } { systemd.services.aegis.serviceConfig.PrivateTmp = false; }
  );

  testTwoFirewallOptions =
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
        within.services.aegis.openFirewall opens the port on every interface, but within.services.aegis.firewallInterfaces only on wg0, wg1.
        Set only one of the two.
      '';

  testScraperThatIsNoAddress =
    fails
      (enabled {
        hostport = "[::]:31337";
        allowedScrapers = [
          "10.100.0.1"
          "prometheus.example.org"
        ];
      })
      ''
        within.services.aegis.allowedScrapers has "prometheus.example.org", which is not an address or a prefix such as 10.100.0.0/24 or fda2::/16.
      '';
  testScraperWithHostBits =
    fails
      (enabled {
        hostport = "[::]:31337";
        allowedScrapers = [ "10.100.0.1/24" ];
      })
      ''
        within.services.aegis.allowedScrapers has "10.100.0.1/24", which has bits set after the prefix length: write the first address of the network, or an address without a length.
      '';

  testExporterWithoutAegis = fails (with' { exporters.node.enable = true; } { }) ''
    within.services.aegis.exporters.node.enable runs the exporter behind Aegis, but Aegis is not enabled.
    Set within.services.aegis.enable = true, or use only services.prometheus.exporters.node.
  '';

  # These are warnings: the configuration works, but not as intended.
  testRemoteOptionsOnLoopback =
    fails
      (enabled {
        firewallInterfaces = [ "wg0" ];
        allowedScrapers = [ "10.100.0.1" ];
      })
      ''
        within.services.aegis.hostport is "[::1]:31337", which only this host can reach, so firewallInterfaces and allowedScrapers will have no effect.
        For a Prometheus on another host, set hostport to an address that it can reach.
      '';
  testExporterWithOpenFirewall =
    fails
      (with' {
        enable = true;
        exporters.node.enable = true;
      } { services.prometheus.exporters.node.openFirewall = true; })
      ''
        services.prometheus.exporters.node.openFirewall opens TCP port 9100, but the exporter no longer listens there:
        within.services.aegis.exporters.node moved it to /srv/within/run/node.sock.
      '';
}
