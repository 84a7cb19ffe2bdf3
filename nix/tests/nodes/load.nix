# A unit that scrapes from the moment it is started until /run/enough is there,
# and fails if one scrape is lost.
{ lib, pkgs, ... }:
{
  systemd.services.load = {
    # Not a unit of the system that is switched to, but of the test.
    restartIfChanged = false;
    serviceConfig = {
      Type = "exec";
      ExecStart = "${lib.getExe pkgs.python3} ${./scrapes.py} http://[::1]:31337/printerfacts /run/enough";
      RemainAfterExit = true;
    };
  };
}
