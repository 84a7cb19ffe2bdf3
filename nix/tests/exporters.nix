# NixOS' own exporters serve their metrics behind Aegis: on sockets instead of TCP ports if
# they can, else on loopback behind a proxy. So does any other program on TCP.
{ aegis }:
{
  name = "aegis-exporters";

  nodes.host =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    {
      # Finds exporters that nixpkgs renamed or removed.
      assertions = map (name: {
        assertion = config.services.prometheus.exporters ? ${name};
        message = "nix/exporter-facts.nix lists the exporter ${name}, which NixOS does not have.";
      }) (import ../exporter-facts.nix).acceptListener;

      imports = [ aegis.nixosModules.default ];
      within.services.aegis = {
        enable = true;
        exporters.node.enable = true;
        exporters.systemd.enable = true;
        exporters.process.enable = true;
        forward.app = "127.0.0.1:8000";
        targets.app.path = "/app.prom";
      };
      systemd.services.app = {
        wantedBy = [ "multi-user.target" ];
        script = "cd $RUNTIME_DIRECTORY && echo app_up 1 > app.prom && exec ${lib.getExe pkgs.python3} -m http.server --bind 127.0.0.1";
        serviceConfig.RuntimeDirectory = "app";
      };
      environment.etc."mime.types".text = "text/plain prom";
      services.prometheus.exporters.node.enabledCollectors = [ "systemd" ];

      specialisation.newer.configuration.systemd.services =
        lib.genAttrs [ "prometheus-node-exporter" "aegis-forward-process" ]
          (_: {
            environment.NEWER = "1";
          });
      specialisation.without-node.configuration.within.services.aegis.exporters.node.enable =
        lib.mkForce false;
      system.switch.enable = true;
    };

  testScript = ''
    def scrape(name):
        return host.succeed(f"curl --fail --silent --show-error --globoff http://[::1]:31337/{name}")


    host.wait_for_unit("aegis.socket")
    for name in ["node", "systemd"]:
        host.wait_for_unit(f"prometheus-{name}-exporter.socket")
        mode = host.succeed(f"stat --format='%U %G %a' /srv/within/run/{name}.sock").strip()
        assert mode == "root within 660", mode

    assert "node_uname_info" in scrape("node")
    assert "node_systemd_unit_state" in scrape("node")
    assert "systemd_unit_state" in scrape("systemd")

    with subtest("nothing listens on the TCP ports of the exporters"):
        for port in [9100, 9558]:
            host.fail(f"curl --silent --max-time 5 http://localhost:{port}/metrics")

    with subtest("programs on TCP"):
        host.wait_for_open_port(9256)
        host.wait_for_open_port(8000)
        assert "namedprocess_" in scrape("process")
        assert "app_up 1" in scrape("app")
        assert "127.0.0.1:9256" in host.succeed("ss --listening --tcp --numeric")

    with subtest("a switch that restarts exporters and proxies keeps their sockets"):
        inodes = "stat --format=%i /srv/within/run/node.sock /srv/within/run/process.sock"
        before = host.succeed(inodes)
        host.succeed("/run/booted-system/specialisation/newer/bin/switch-to-configuration test >&2")
        assert host.succeed(inodes) == before
        assert "node_uname_info" in scrape("node")
        assert "namedprocess_" in scrape("process")

    with subtest("an exporter that keeps crashing is down, and comes back"):
        host.succeed("mkdir -p /run/systemd/system/prometheus-node-exporter.service.d")
        host.succeed("printf '[Service]\\nExecStart=\\nExecStart=/bin/sh -c false\\n' > /run/systemd/system/prometheus-node-exporter.service.d/crash.conf")
        host.succeed("systemctl daemon-reload", "systemctl --no-block restart prometheus-node-exporter.service")
        host.sleep(10)
        assert '"node"' in scrape("-/sd")
        host.succeed("rm /run/systemd/system/prometheus-node-exporter.service.d/crash.conf", "systemctl daemon-reload")
        host.wait_until_succeeds("curl --fail --silent --globoff http://[::1]:31337/node", timeout=30)

    with subtest("disabling an exporter removes its target"):
        host.succeed("/run/booted-system/specialisation/without-node/bin/switch-to-configuration test >&2")
        host.fail("test -e /srv/within/run/node.sock")
        targets = scrape("-/sd")
        assert '"node"' not in targets and '"systemd"' in targets, targets
  '';
}
