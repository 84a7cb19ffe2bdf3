# Restarts under load lose no scrape, a reload keeps the process, and Aegis comes back
# after a crash.
{ aegis }:
{
  name = "aegis-restart";

  nodes.host = {
    imports = [
      aegis.nixosModules.default
      ./nodes/load.nix
      ./nodes/printerfacts.nix
    ];
    within.services.aegis.enable = true;
  };

  testScript = ''
    def pid():
        return host.succeed("systemctl show --property=MainPID --value aegis.service").strip()


    host.wait_for_unit("aegis.socket")
    host.wait_for_unit("printerfacts.service")
    host.wait_for_file("/srv/within/run/printerfacts.sock")
    host.succeed("systemctl start load.service")
    host.wait_for_unit("aegis.service")

    with subtest("a reload keeps the process"):
        before = pid()
        host.succeed("systemctl reload aegis.service")
        assert pid() == before

    with subtest("Aegis restarts more often than systemd's default limit allows"):
        for _ in range(8):
            before = pid()
            host.succeed("systemctl restart aegis.service")
            assert pid() != before
            host.sleep(1)

    with subtest("no scrape failed"):
        host.succeed("touch /run/stop-load")
        host.wait_until_succeeds("systemctl show --property=SubState load.service | grep --quiet -e exited -e failed", timeout=60)
        print(host.succeed("journalctl --no-pager --unit=load.service"))
        # One at a time: with several units, is-active succeeds if any of them is active.
        for unit in ["load.service", "aegis.service", "aegis.socket"]:
            host.succeed(f"systemctl is-active {unit}")

    with subtest("Aegis restarts after a crash"):
        host.succeed("systemctl kill --signal=SEGV aegis.service")
        host.succeed("curl --fail --silent --show-error --globoff --retry 5 --retry-all-errors http://[::1]:31337/printerfacts")
  '';
}
