# Switching to another generation loses no scrape if the service changes, and moves
# the listener if the address changes.
{ aegis }:
{
  name = "aegis-upgrade";

  nodes.host = {
    imports = [
      aegis.nixosModules.default
      ./nodes/load.nix
      ./nodes/printerfacts.nix
    ];
    within.services.aegis.enable = true;

    specialisation = {
      newer.configuration.systemd.services.aegis.serviceConfig.MemoryMax = "300M";
      moved.configuration.within.services.aegis.hostport = "[::1]:31338";
    };
    system.switch.enable = true;
  };

  testScript = ''
    def switch(generation):
        host.succeed(f"/run/booted-system/{generation}bin/switch-to-configuration test >&2")


    def pid():
        return host.succeed("systemctl show --property=MainPID --value aegis.service").strip()


    def get(port):
        return f"curl --fail --silent --show-error --globoff --max-time 5 http://[::1]:{port}/printerfacts"


    host.wait_for_unit("multi-user.target")
    host.wait_for_file("/srv/within/run/printerfacts.sock")
    host.succeed("systemctl start load.service")
    host.wait_for_unit("aegis.service")

    with subtest("no scrape fails during an upgrade and a rollback"):
        for generation in ["specialisation/newer/", ""]:
            before = pid()
            switch(generation)
            assert pid() != before
        host.succeed("touch /run/stop-load")
        host.wait_until_succeeds("systemctl show --property=SubState load.service | grep --quiet -e exited -e failed", timeout=60)
        print(host.succeed("journalctl --no-pager --unit=load.service"))
        host.succeed("systemctl is-active load.service")

    with subtest("Aegis listens on a new address, and on the old one after a rollback"):
        for generation, port, old in [("specialisation/moved/", 31338, 31337), ("", 31337, 31338)]:
            switch(generation)
            host.wait_until_succeeds(get(port), timeout=30)
            host.fail(get(old))
  '';
}
