# A unit that scrapes until /run/stop-load exists. It fails if any scrape fails.
{ lib, pkgs, ... }:
{
  systemd.services.load = {
    # It must keep running while the test switches generations.
    restartIfChanged = false;
    serviceConfig = {
      Type = "exec";
      ExecStart = "${lib.getExe pkgs.python3} ${./scrapes.py} http://[::1]:31337/printerfacts /run/stop-load";
      RemainAfterExit = true;
    };
  };
}
