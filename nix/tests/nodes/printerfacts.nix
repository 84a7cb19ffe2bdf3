# A service as anybody would write one: it listens on a Unix socket and answers
# GET /metrics there.
{ lib, pkgs, ... }:
{
  systemd.services.printerfacts = {
    wantedBy = [ "multi-user.target" ];
    serviceConfig = {
      ExecStart = "${lib.getExe pkgs.python3} ${./printerfacts.py} /srv/within/run/printerfacts.sock";
      DynamicUser = true;
      # It may make its socket in the folder, and Aegis may connect to it.
      Group = "within";
      UMask = "0007";
      ReadWritePaths = [ "/srv/within/run" ];
      Restart = "on-failure";
    };
  };
}
