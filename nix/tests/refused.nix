# What Aegis does not serve, and what it says about it: links, files, sockets it
# may not connect to, sockets nobody listens on.
{ aegis }:
{
  name = "aegis-refused";

  nodes.host =
    { lib, pkgs, ... }:
    {
      imports = [
        aegis.nixosModules.default
        ./nodes/printerfacts.nix
      ];
      within.services.aegis.enable = true;

      # Not for Aegis: no group, no mode for others.
      systemd.services.secret = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          ExecStart = "${lib.getExe pkgs.python3} ${./nodes/printerfacts.py} /srv/within/run/secret.sock";
          UMask = "0077";
        };
      };
    };

  testScript = ''
    def answer(name):
        return host.succeed(
            "curl --silent --show-error --globoff --path-as-is --write-out '%{http_code}'"
            + f" 'http://[::1]:31337/{name}'"
        )


    def refused(name, status, *words):
        text = answer(name)
        assert text.endswith(str(status)), text
        for word in words:
            assert word in text, f"no {word!r} in: {text}"


    host.wait_for_unit("aegis.socket")
    for service in ["printerfacts", "secret"]:
        host.wait_for_unit(f"{service}.service")
        host.wait_for_file(f"/srv/within/run/{service}.sock")
    assert "printerfacts_facts_total" in answer("printerfacts")

    with subtest("a link is not followed, wherever it leads"):
        host.succeed("ln -s printerfacts.sock /srv/within/run/link.sock")
        host.succeed("ln -s /etc/passwd /srv/within/run/passwd.sock")
        refused("link", 502, "is a link, and links are not followed")
        refused("passwd", 502, "is a link, and links are not followed")

    with subtest("nothing out of the folder"):
        for name in ["..%2frun%2fprinterfacts", "../run/printerfacts", "%2e%2e/printerfacts"]:
            assert "printerfacts_facts_total" not in answer(name)

    with subtest("a socket that Aegis may not connect to says who may"):
        refused("secret", 502, "/srv/within/run/secret.sock", "mode 0700", "user aegis", "within", "chmod g+w")

    with subtest("a socket that nobody listens on any more"):
        host.succeed("systemctl stop printerfacts.service")
        refused("printerfacts", 502, "nobody is listening on /srv/within/run/printerfacts.sock any more")

    with subtest("a name that is no socket"):
        refused("nobody", 404, "there is no /srv/within/run/nobody.sock")

    with subtest("systemctl status says it too"):
        host.wait_until_succeeds("systemctl show --property=StatusText aegis.service | grep --quiet printerfacts", timeout=30)
  '';
}
