# NixOS' own exporters, moved from their ports to sockets behind Aegis.
{ aegis }:
{
  name = "aegis-exporters";

  nodes.host =
    { config, lib, ... }:
    {
      # Whatever nixpkgs renames or drops is found here.
      assertions = map (name: {
        assertion = config.services.prometheus.exporters ? ${name};
        message = "NixOS has no exporter ${name}, which nix/exporters.nix names.";
      }) (import ../exporters.nix);

      imports = [ aegis.nixosModules.default ];
      within.services.aegis = {
        enable = true;
        exporters.node.enable = true;
        exporters.systemd.enable = true;
      };
      services.prometheus.exporters.node.enabledCollectors = [ "systemd" ];

      specialisation.without.configuration.within.services.aegis.exporters.node.enable =
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

    with subtest("their ports are closed"):
        for port in [9100, 9558]:
            host.fail(f"curl --silent --max-time 5 http://localhost:{port}/metrics")

    with subtest("one that is switched off leaves no target that fails"):
        host.succeed("/run/booted-system/specialisation/without/bin/switch-to-configuration test >&2")
        host.fail("test -e /srv/within/run/node.sock")
        targets = scrape("-/sd")
        assert '"node"' not in targets and '"systemd"' in targets, targets
  '';
}
