# Aegis listens on the address of a tunnel before the tunnel exists. Once it exists,
# scrapers reach Aegis through it, and not without it.
{ aegis }:
let
  peer =
    { pkgs, ... }:
    {
      environment.systemPackages = [
        pkgs.iproute2
        pkgs.wireguard-tools
      ];
      networking.firewall.allowedUDPPorts = [ 51820 ];
    };
in
{
  name = "aegis-wireguard";

  nodes = {
    host.imports = [
      peer
      aegis.nixosModules.default
      ./nodes/printerfacts.nix
      {
        within.services.aegis = {
          enable = true;
          hostport = "10.100.0.1:31337";
          firewallInterfaces = [ "wg0" ];
        };
      }
    ];
    scraper.imports = [ peer ];
  };

  testScript = ''
    start_all()
    url = "http://10.100.0.1:31337/printerfacts"

    with subtest("Aegis listens before the tunnel exists"):
        host.wait_for_unit("aegis.socket")
        host.wait_for_unit("printerfacts.service")
        host.fail("ip address show dev wg0")
        host.succeed("ss --listening --tcp --numeric | grep --fixed-strings 10.100.0.1:31337")

    with subtest("the tunnel starts"):
        scraper.wait_for_unit("multi-user.target")
        keys: dict[str, str] = {}
        for machine in [host, scraper]:
            machine.succeed("umask 077 && wg genkey > /run/wg0.key")
            keys[machine.name] = machine.succeed("wg pubkey < /run/wg0.key").strip()
        for machine, address, other, endpoint in [
            (host, "10.100.0.1", "10.100.0.2", "scraper"),
            (scraper, "10.100.0.2", "10.100.0.1", "host"),
        ]:
            machine.succeed(
                "ip link add wg0 type wireguard",
                "wg set wg0 private-key /run/wg0.key listen-port 51820"
                + f" peer {keys[endpoint]} allowed-ips {other}/32 endpoint {endpoint}:51820",
                f"ip address add {address}/24 dev wg0",
                "ip link set wg0 up",
            )

    with subtest("a scraper reaches Aegis through the tunnel"):
        scraper.wait_until_succeeds(f"curl --fail --silent --show-error --max-time 5 {url}", timeout=60)

    with subtest("a scraper cannot reach Aegis without the tunnel"):
        scraper.succeed("ip link set wg0 down", "ip route add 10.100.0.1/32 via $(getent ahostsv4 host | head -n 1 | cut -d ' ' -f 1)")
        scraper.fail(f"curl --fail --silent --max-time 5 {url}")
  '';
}
