# NixOS' own exporters serve their metrics on sockets behind Aegis instead of on
# their TCP ports.
{ aegis }:
{
  name = "aegis-exporters";

  nodes.host =
    { config, lib, ... }:
    {
      # Finds exporters that nixpkgs renamed or removed.
      assertions = map (name: {
        assertion = config.services.prometheus.exporters ? ${name};
        message = "nix/exporters.nix lists the exporter ${name}, which NixOS does not have.";
      }) (import ../exporters.nix);

      imports = [ aegis.nixosModules.default ];
      within.services.aegis = {
        enable = true;
        exporters.node.enable = true;
        exporters.systemd.enable = true;
      };
      services.prometheus.exporters.node.enabledCollectors = [ "systemd" ];

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

    with subtest("disabling an exporter removes its target"):
        host.succeed("/run/booted-system/specialisation/without-node/bin/switch-to-configuration test >&2")
        host.fail("test -e /srv/within/run/node.sock")
        targets = scrape("-/sd")
        assert '"node"' not in targets and '"systemd"' in targets, targets
  '';
}
