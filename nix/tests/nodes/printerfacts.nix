# A typical service, which serves its metrics on a Unix socket.
{ lib, pkgs, ... }:
{
  systemd.services.printerfacts = {
    wantedBy = [ "multi-user.target" ];
    serviceConfig = {
      ExecStart = "${lib.getExe pkgs.python3} ${./printerfacts.py} /srv/within/run/printerfacts.sock";
      DynamicUser = true;
      # The service can create its socket in the directory. The directory is setgid, so
      # Aegis can connect to the socket, and other files stay in the service's own group.
      SupplementaryGroups = [ "within" ];
      UMask = "0007";
      ReadWritePaths = [ "/srv/within/run" ];
      Restart = "on-failure";
    };
  };
}
