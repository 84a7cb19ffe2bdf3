# Aegis reports symlinks, sockets that it may not connect to, sockets without a
# listener, and unknown names as errors that say what to do.
{ aegis }:
{
  name = "aegis-errors";

  nodes.host =
    { lib, pkgs, ... }:
    {
      imports = [
        aegis.nixosModules.default
        ./nodes/printerfacts.nix
      ];
      within.services.aegis.enable = true;

      # Aegis may not connect to this socket: only root has permissions.
      systemd.services.secret = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          ExecStart = "${lib.getExe pkgs.python3} ${./nodes/printerfacts.py} /srv/within/run/secret.sock";
          UMask = "0077";
        };
      };
    };

  testScript = ''
    def get(name):
        return host.succeed(
            "curl --silent --show-error --globoff --path-as-is --write-out '%{http_code}'"
            + f" 'http://[::1]:31337/{name}'"
        )


    def fails(name, status, *words):
        text = get(name)
        assert text.endswith(str(status)), text
        for word in words:
            assert word in text, f"no {word!r} in: {text}"


    host.wait_for_unit("aegis.socket")
    for service in ["printerfacts", "secret"]:
        host.wait_for_unit(f"{service}.service")
        host.wait_for_file(f"/srv/within/run/{service}.sock")
    assert "printerfacts_facts_total" in get("printerfacts")

    with subtest("Aegis does not follow symlinks"):
        host.succeed("ln -s printerfacts.sock /srv/within/run/link.sock")
        host.succeed("ln -s /etc/passwd /srv/within/run/passwd.sock")
        fails("link", 502, "/srv/within/run/link.sock is a symlink")
        fails("passwd", 502, "/srv/within/run/passwd.sock is a symlink")

    with subtest("no path leads outside the directory"):
        for name in ["..%2frun%2fprinterfacts", "../run/printerfacts", "%2e%2e/printerfacts"]:
            assert "printerfacts_facts_total" not in get(name)

    with subtest("permission denied: the error names the owner and mode of the socket"):
        fails("secret", 502, "/srv/within/run/secret.sock", "mode 0700", "user aegis", "within", "chmod g+w")

    with subtest("connection refused: no process listens on the socket"):
        host.succeed("systemctl stop printerfacts.service")
        fails("printerfacts", 502, "/srv/within/run/printerfacts.sock", "start its service")

    with subtest("no socket has this name"):
        fails("nobody", 404, "/srv/within/run/nobody.sock")

    with subtest("systemctl status names the failing target"):
        host.wait_until_succeeds("systemctl show --property=StatusText aegis.service | grep --quiet printerfacts", timeout=30)
  '';
}
