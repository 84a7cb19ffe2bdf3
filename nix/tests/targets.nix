# targets and webConfigFile: a raw socket outside the directory, labels and a disabled
# target, scraped over TLS with a password. A change to either file reloads Aegis.
{ aegis }:
{
  name = "aegis-targets";

  nodes.host =
    { lib, pkgs, ... }:
    let
      certificate = pkgs.runCommand "certificate" { nativeBuildInputs = [ pkgs.openssl ]; } ''
        mkdir $out
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=host \
          -addext subjectAltName=DNS:host -keyout $out/key.pem -out $out/cert.pem
      '';
      webFile =
        users:
        builtins.toJSON {
          tls_server_config = {
            cert_file = "${certificate}/cert.pem";
            key_file = "${certificate}/key.pem";
          };
          # The password is: open sesame
          basic_auth_users = lib.genAttrs users (
            _: "$2a$04$dMO8SlhktFW1WT48sLPsCuUpsf3BzqAZc3Le.r8CGAvfws7X8EI5."
          );
        };
    in
    {
      imports = [
        aegis.nixosModules.default
        ./nodes/printerfacts.nix
      ];
      environment.etc."certificate.pem".source = "${certificate}/cert.pem";
      within.services.aegis = {
        enable = true;
        hostport = "0.0.0.0:31337";
        targets = {
          printerfacts.labels.team = "printers";
          raw = {
            socket = "/run/raw.promsock";
            protocol = "raw";
          };
        };
        webConfigFile = "/etc/aegis/web.yml";
      };
      environment.etc."aegis/web.yml".text = webFile [ "prometheus" ];

      # Writes its metrics to every client that connects, then closes.
      systemd.sockets.raw = {
        wantedBy = [ "sockets.target" ];
        socketConfig = {
          ListenStream = "/run/raw.promsock";
          Accept = true;
          SocketMode = "0666";
        };
      };
      systemd.services."raw@".serviceConfig = {
        ExecStart = "${lib.getExe pkgs.python3} -c 'print(\"raw_responses_total 1\")'";
        StandardOutput = "socket";
      };

      specialisation = {
        disabled.configuration.within.services.aegis.targets.raw.enabled = false;
        second-user.configuration.environment.etc."aegis/web.yml".text = lib.mkForce (webFile [
          "prometheus"
          "grafana"
        ]);
      };
      system.switch.enable = true;
    };

  testScript = ''
    get = "curl --silent --show-error --max-time 10 --write-out ' %{http_code}' --cacert /etc/certificate.pem"
    password = "--user 'prometheus:open sesame'"
    url = "https://host:31337"


    def main_pid():
        return host.succeed("systemctl show --property=MainPID aegis.service")


    host.wait_for_unit("aegis.socket")
    host.wait_for_unit("raw.socket")
    host.wait_for_unit("printerfacts.service")
    host.wait_for_file("/srv/within/run/printerfacts.sock")

    with subtest("every path needs TLS and the password"):
        for path in ["", "metrics", "-/sd", "-/healthy", "printerfacts", "raw"]:
            assert host.succeed(f"{get} {url}/{path}").endswith(" 401"), path
        host.fail(f"curl --fail --silent http://host:31337/printerfacts {password}")

    with subtest("a raw socket outside the directory"):
        text = host.succeed(f"{get} {password} {url}/raw")
        assert "raw_responses_total 1" in text and text.endswith(" 200"), text

    with subtest("discovery has the labels and the scheme"):
        text = host.succeed(f"{get} {password} {url}/-/sd")
        assert '"team":"printers"' in text and '"__scheme__":"https"' in text, text

    with subtest("a change to the targets reloads Aegis"):
        before = main_pid()
        host.succeed("/run/booted-system/specialisation/disabled/bin/switch-to-configuration test >&2")
        host.wait_until_succeeds(f"{get} {password} {url}/raw | grep --quiet 'enabled: false'", timeout=30)
        assert "printerfacts_facts_total" in host.succeed(f"{get} {password} {url}/printerfacts")
        assert main_pid() == before

    with subtest("a change to the web file reloads Aegis"):
        before = main_pid()
        host.succeed("/run/booted-system/specialisation/second-user/bin/switch-to-configuration test >&2")
        host.wait_until_succeeds(f"{get} --user 'grafana:open sesame' {url}/printerfacts | grep --quiet facts_total", timeout=30)
        assert main_pid() == before
  '';
}
