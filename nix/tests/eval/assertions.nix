# Every mistake that the module reports, with its message, and similar configurations
# that it accepts.
{
  enabled,
  with',
  failing,
  lib,
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
    within.services.aegis.targets.billing.allow is empty, so nobody may scrape billing. If everybody may, remove allow. If nobody may, set enabled = false instead.
  '';

  testRelativeSockdir = fails (enabled { sockdir = "run"; }) ''
    within.services.aegis.sockdir is "run", which is not a path that Aegis accepts.
    Write an absolute path without a trailing slash, such as "/srv/within/run". It may contain only letters, digits and
    . _ - @ : + and none of its parts may begin with a dot.
  '';
  testVarlinkdirInHome = fails (enabled { varlinkdir = "/home/report"; }) ''
    within.services.aegis.varlinkdir is "/home/report", but the service cannot see home directories (ProtectHome=true).
    Choose another directory, such as "/srv/within/run", or let the service see them:
      systemd.services.aegis.serviceConfig.ProtectHome = "read-only";
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
    Choose another directory, such as "/srv/within/run".
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
  testLoopbackWithoutIPv6 =
    fails (with' { enable = true; } { networking.enableIPv6 = false; })
      ''
        within.services.aegis.hostport is "[::1]:31337", but networking.enableIPv6 is false, so nobody can connect.
        Set hostport to an IPv4 address, such as "127.0.0.1:31337".
      '';
  testScrapersOfTheOtherFamily =
    fails
      (enabled {
        hostport = "10.100.0.2:31337";
        allowedScrapers = [
          "10.100.0.1"
          "fda2::/16"
          "::1"
        ];
      })
      ''
        within.services.aegis.allowedScrapers has fda2::/16, but within.services.aegis.hostport is "10.100.0.2:31337", so no IPv6 address matches.
        Set hostport to "[::]:31337", which accepts IPv4 and IPv6, or remove what cannot match.
      '';
  testScrapersOfBothFamilies = passes (enabled {
    hostport = "[::]:31337";
    allowedScrapers = [
      "10.100.0.1"
      "fda2::/16"
    ];
  });
  testCertificatesWithoutWebFile =
    fails (enabled { targets.billing.allow.certificates = [ "prometheus" ]; })
      ''
        within.services.aegis.targets.billing.allow names certificates, but within.services.aegis.webConfigFile is not set, so Aegis verifies none.
        Set webConfigFile to a file with client_auth_type: RequireAndVerifyClientCert.
      '';

  # Paths that the service must see.
  testWebConfigFiles = {
    expr = map (webConfigFile: failing (enabled { inherit webConfigFile; }) == [ ]) [
      "/etc/aegis/web.yml"
      "/var/lib/aegis/web.yml"
      "/etc/my web.yml"
      "%d/web.yml"
      ./assertions.nix
      ""
      "web.yml"
      "/etc/%i.yml"
      "/etc/a\nb"
      "/etc/$HOME"
      "/etc/a\"b"
      "/etc/a'b"
      "/etc/a\\b"
      "/etc/web.yml/"
      "/etc/../root/web.yml"
      "/home/cadey/web.yml"
      "/root/web.yml"
      "/tmp/web.yml"
      "/run/user/1000/web.yml"
      "/dev/shm/web.yml"
    ];
    expected = lib.genList (i: i < 5) 20;
  };
  testWebConfigFile = fails (enabled { webConfigFile = "web.yml"; }) ''
    within.services.aegis.webConfigFile is "web.yml", which is not a path that Aegis accepts.
    Write an absolute path, such as "/etc/aegis/web.yml", or "%d/NAME" for a credential of the service. It may not contain
    % otherwise, nor "..", $, quotes, backslashes or line breaks.
  '';
  testWebConfigFileInHome = fails (enabled { webConfigFile = "/home/cadey/web.yml"; }) ''
    within.services.aegis.webConfigFile is "/home/cadey/web.yml", but the service cannot see home directories (ProtectHome=true).
    Choose another path, such as "/etc/aegis/web.yml", or let the service see them:
      systemd.services.aegis.serviceConfig.ProtectHome = "read-only";
  '';
  testSocketInTmp = fails (enabled { targets.x.socket = "/tmp/x.sock"; }) ''
    within.services.aegis.targets.x.socket is "/tmp/x.sock", but the service has its own /tmp and /var/tmp (PrivateTmp=).
    Every user can create files there, so choose another path, such as "/run/x/metrics.sock". If you accept that, set:
      systemd.services.aegis.serviceConfig.PrivateTmp = false;
  '';
  testSocketInRunUser = fails (enabled { targets.x.socket = "/run/user/1000/x.sock"; }) ''
    within.services.aegis.targets.x.socket is "/run/user/1000/x.sock", which the service cannot see.
    Choose another path, such as "/run/x/metrics.sock".
  '';

  testFlagWithSpace =
    fails
      (enabled {
        extraFlags = [
          "-log.level debug"
          "-web.external-url=https://host.example.org/a b"
        ];
      })
      ''
        within.services.aegis.extraFlags has "-log.level debug", but a flag and its value are two arguments.
        Write "-log.level=debug".
      '';
  testFlagAndValue = passes (enabled {
    extraFlags = [
      "-log.level"
      "debug"
    ];
  });

  # Exporters and forwards.
  testExporterWithOpenFirewall =
    fails
      (with' {
        enable = true;
        exporters.node.enable = true;
      } { services.prometheus.exporters.node.openFirewall = true; })
      ''
        services.prometheus.exporters.node.openFirewall opens TCP port 9100, but within.services.aegis.exporters.node moved the exporter to /srv/within/run/node.sock.
        Remove openFirewall.
      '';
  testForwardedExporterWithOpenFirewall =
    fails
      (with' {
        enable = true;
        exporters.process.enable = true;
      } { services.prometheus.exporters.process.openFirewall = true; })
      ''
        services.prometheus.exporters.process.openFirewall opens TCP port 9256, but within.services.aegis.exporters.process moved the exporter to loopback.
        Remove openFirewall.
      '';

  # Forwarded exporters that others may reach without Aegis, or that Aegis may not reach.
  testExporterWarnings = {
    expr =
      lib.mapAttrs
        (
          name: settings:
          messages (
            with' {
              enable = true;
              exporters.${name}.enable = true;
            } { services.prometheus.exporters.${name} = settings; }
          )
        )
        {
          process = {
            listenAddress = "0.0.0.0";
            openFirewall = true;
          };
          dnssec = { };
          fail2ban.host = "10.0.0.1";
          influxdb = { };
          nut.listenAddress = "localhost";
          pihole = { };
        };
    expected = {
      process = [
        ''
          services.prometheus.exporters.process.openFirewall opens TCP port 9256, so others can scrape the exporter without Aegis.
          Remove openFirewall.
        ''
        ''
          services.prometheus.exporters.process.listenAddress is "0.0.0.0", so others may scrape the exporter without Aegis.
          Set it to a loopback address, such as "127.0.0.1".
        ''
      ];
      dnssec = [
        ''
          services.prometheus.exporters.dnssec.listenAddress is null, which does not say where the exporter listens. Aegis expects it at 127.0.0.1:9204.
          Set listenAddress to "127.0.0.1:9204".
        ''
      ];
      fail2ban = [
        ''
          services.prometheus.exporters.fail2ban.host is "10.0.0.1", so others may scrape the exporter without Aegis.
          Set it to a loopback address, such as "127.0.0.1".
        ''
      ];
      influxdb = [
        ''
          The exporter influxdb receives what others push on the port that within.services.aegis.exporters.influxdb moves to loopback, so other hosts can no longer push to it.
          If they do, do not run it behind Aegis.
        ''
      ];
      nut = [
        ''
          services.prometheus.exporters.nut.listenAddress is "localhost", which does not say where the exporter listens. Aegis expects it at 127.0.0.1:9199.
          Set listenAddress to "127.0.0.1".
        ''
      ];
      pihole = [
        ''
          The exporter pihole ignores services.prometheus.exporters.pihole.listenAddress and listens on every address, so others can scrape it without Aegis.
          Keep its port closed in the firewall.
        ''
      ];
    };
  };
  testExporterOnLoopback = passes (
    with' {
      enable = true;
      exporters.dnssec.enable = true;
      exporters.process.enable = true;
    } {
      services.prometheus.exporters.dnssec.listenAddress = "127.0.0.1:9204";
      services.prometheus.exporters.process.listenAddress = "::1";
    }
  );
  testExporterForcedOff =
    fails
      (with' {
        enable = true;
        exporters.node.enable = true;
      } { services.prometheus.exporters.node.enable = lib.mkForce false; })
      ''
        within.services.aegis.exporters.node.enable is true, but another module sets services.prometheus.exporters.node.enable to false, so there is no target node.
        Remove one of the two.
      '';
  # NixOS' own error names the option, and similar ones.
  testUnknownExporter = {
    expr =
      (builtins.tryEval (failing (enabled { exporters.nodes.enable = true; }))).success;
    expected = false;
  };
  testForwardToHostName = fails (enabled { forward.app = "localhost:9187"; }) ''
    within.services.aegis.forward.app is "localhost:9187", which is not the address and port of a program.
    Write where the program listens, such as "127.0.0.1:9187" or "[::1]:9187". Host names are not accepted.
  '';
  testForwards = {
    expr = map (app: failing (enabled { forward = { inherit app; }; }) == [ ]) [
      "127.0.0.1:9187"
      "[::1]:9187"
      "10.0.0.5:9187"
      "0.0.0.0:9187"
      "[::]:9187"
      "127.0.0.1"
      "9187"
    ];
    expected = lib.genList (i: i < 3) 7;
  };
  testForwardOfABadName = fails (enabled { forward."my app" = "127.0.0.1:1"; }) ''
    within.services.aegis.forward has "my app", which is not a valid name. A name is 1 to 250 letters, digits and . _ - @ : + and begins with a letter or digit.
  '';
  # Names of targets, but not of units.
  testForwardNames = {
    expr = map (name: failing (enabled { forward.${name} = "127.0.0.1:1"; }) == [ ]) [
      "a_b-c.d:e"
      "c++"
      "a@"
      "a@b"
    ];
    expected = lib.genList (i: i < 1) 4;
  };
  testForwardNameOfNoUnit = fails (enabled { forward."c++" = "127.0.0.1:1"; }) ''
    within.services.aegis.forward has "c++", but the names of systemd's units cannot have + or @ in this place. Leave them out.
  '';
  testForwardAndExporter =
    fails
      (enabled {
        exporters.node.enable = true;
        forward.node = "127.0.0.1:9100";
      })
      ''
        within.services.aegis.forward.node and within.services.aegis.exporters.node.enable both make node.sock.
        Remove one of the two.
      '';
  testForwardWithASocket =
    fails
      (enabled {
        forward.app = "127.0.0.1:9187";
        targets.app.socket = "/run/app.sock";
      })
      ''
        within.services.aegis.targets.app.socket names another socket than /srv/within/run/app.sock, which within.services.aegis.forward or within.services.aegis.exporters makes.
        Remove it, or give the target another name.
      '';
  testLongSocket =
    let
      sockdir = "/srv/" + lib.concatStrings (lib.genList (_: "x") 100);
    in
    fails
      (enabled {
        inherit sockdir;
        exporters.node.enable = true;
      })
      ''
        ${sockdir}/node.sock is longer than the 107 bytes that systemd accepts as the path of a socket.
        Choose a shorter within.services.aegis.sockdir.
      '';
}
