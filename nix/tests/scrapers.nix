# allowedScrapers allows one machine to connect and denies it to another: first in
# the kernel and, if the kernel does not filter, in Aegis.
{ aegis }:
{
  name = "aegis-scrapers";

  nodes = {
    host =
      { nodes, ... }:
      {
        imports = [
          aegis.nixosModules.default
          ./nodes/printerfacts.nix
        ];
        within.services.aegis = {
          enable = true;
          hostport = "0.0.0.0:31337";
          openFirewall = true;
          allowedScrapers = [ nodes.allowed.networking.primaryIPAddress ];
        };

        # As on a kernel that cannot filter by address.
        specialisation.unfiltered.configuration.systemd.sockets.aegis.socketConfig = {
          IPAddressDeny = [ ];
          IPAddressAllow = [ ];
        };
        system.switch.enable = true;
      };
    allowed = { };
    denied = { };
  };

  testScript = ''
    start_all()
    host.wait_for_unit("aegis.socket")
    host.wait_for_unit("printerfacts.service")
    host.wait_for_file("/srv/within/run/printerfacts.sock")
    for machine in [allowed, denied]:
        machine.wait_for_unit("multi-user.target")

    url = "http://host:31337"
    get = "curl --fail --silent --show-error --max-time 5"

    with subtest("the kernel drops packets from other addresses"):
        allowed.succeed(f"{get} {url}/printerfacts")
        denied.fail(f"{get} {url}/printerfacts")
        host.fail(f"{get} http://127.0.0.1:31337/printerfacts")
        assert "aegis_rejected_connections_total 0" in allowed.succeed(f"{get} {url}/metrics")

    with subtest("Aegis closes connections from other addresses"):
        host.succeed("/run/booted-system/specialisation/unfiltered/bin/switch-to-configuration test >&2")
        host.wait_for_unit("aegis.socket")
        allowed.succeed(f"{get} --retry 5 --retry-all-errors {url}/printerfacts")
        denied.fail(f"{get} {url}/printerfacts")
        assert "aegis_rejected_connections_total 1" in allowed.succeed(f"{get} {url}/metrics")
        host.succeed("journalctl --unit=aegis.service | grep --quiet -e '-allow'")
  '';
}
