# Aegis runs on one machine and a real Prometheus scrapes it from another, configured
# as on the first screen of the README.
{ aegis }:
{
  name = "aegis-remote";

  nodes = {
    # With nothing but enable, Aegis listens on loopback.
    alone = {
      imports = [ aegis.nixosModules.default ];
      within.services.aegis.enable = true;
    };

    host = {
      imports = [
        aegis.nixosModules.default
        ./nodes/printerfacts.nix
      ];
      within.services.aegis = {
        enable = true;
        hostport = "[::]:31337";
        firewallInterfaces = [ "eth1" ];
      };
    };

    prometheus.imports = [ (import ./nodes/prometheus.nix { inherit aegis; }) ];
  };

  testScript = ''
    import shlex


    def finds(query):
        """Returns a command that succeeds if Prometheus has series for the query."""
        return (
            "curl --fail --silent --show-error --get http://localhost:9090/api/v1/query --data-urlencode "
            + shlex.quote("query=" + query)
            + """ | grep --fixed-strings '"metric"'"""
        )


    start_all()

    with subtest("enable alone is a working service"):
        alone.wait_for_unit("aegis.socket")
        alone.succeed("curl --fail --silent --show-error --globoff http://[::1]:31337/-/healthy")
        alone.wait_for_unit("aegis.service")
        alone.succeed("test \"$(stat --format='%U %G %a' /srv/within/run)\" = 'root within 2770'")
        alone.wait_until_succeeds("systemctl show --property=StatusText aegis.service | grep '0 sockets'", timeout=30)

    with subtest("systemd-analyze rates the service as safe"):
        security = alone.succeed("systemd-analyze security --no-pager aegis.service")
        assert "SAFE" in security.splitlines()[-1], security

    with subtest("a Prometheus on another machine discovers and scrapes the targets"):
        host.wait_for_unit("aegis.socket")
        host.wait_for_unit("printerfacts.service")
        prometheus.wait_for_unit("prometheus.service")
        prometheus.wait_for_open_port(9090)
        for job in ["printerfacts", "aegis"]:
            prometheus.wait_until_succeeds(finds(f'up{{job="{job}", instance="host:31337"}} == 1'))
        prometheus.wait_until_succeeds(finds("printerfacts_facts_total == 42"))

    with subtest("Prometheus loads the alerts along with other rules"):
        rules = prometheus.succeed("curl --fail --silent --show-error http://localhost:9090/api/v1/rules")
        assert "AegisDown" in rules and "own:up:sum" in rules, rules

    with subtest("Prometheus no longer scrapes a target that was removed"):
        host.succeed("systemctl stop printerfacts.service", "rm /srv/within/run/printerfacts.sock")
        prometheus.wait_until_fails(finds('up{job="printerfacts"}'))
  '';
}
