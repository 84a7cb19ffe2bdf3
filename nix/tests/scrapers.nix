# allowedScrapers lets one machine in and keeps the other out, in Aegis and, one
# wall before it, in the kernel.
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
          allowedScrapers = [ nodes.friend.networking.primaryIPAddress ];
        };

        # Aegis' own wall alone, as where the kernel has none.
        specialisation.inner.configuration.systemd.sockets.aegis.socketConfig = {
          IPAddressDeny = [ ];
          IPAddressAllow = [ ];
        };
        system.switch.enable = true;
      };
    friend = { };
    stranger = { };
  };

  testScript = ''
    start_all()
    host.wait_for_unit("aegis.socket")
    host.wait_for_unit("printerfacts.service")
    host.wait_for_file("/srv/within/run/printerfacts.sock")
    for machine in [friend, stranger]:
        machine.wait_for_unit("multi-user.target")

    url = "http://host:31337"
    get = "curl --fail --silent --show-error --max-time 5"

    with subtest("the kernel drops the stranger"):
        friend.succeed(f"{get} {url}/printerfacts")
        stranger.fail(f"{get} {url}/printerfacts")
        host.fail(f"{get} http://127.0.0.1:31337/printerfacts")
        assert "aegis_refused_connections_total 0" in friend.succeed(f"{get} {url}/metrics")

    with subtest("and where it does not, Aegis closes"):
        host.succeed("/run/booted-system/specialisation/inner/bin/switch-to-configuration test >&2")
        host.wait_for_unit("aegis.socket")
        friend.succeed(f"{get} --retry 5 --retry-all-errors {url}/printerfacts")
        stranger.fail(f"{get} {url}/printerfacts")
        assert "aegis_refused_connections_total 1" in friend.succeed(f"{get} {url}/metrics")
        host.succeed("journalctl --unit=aegis.service | grep --quiet 'connection refused: -allow does not name its address'")
  '';
}
