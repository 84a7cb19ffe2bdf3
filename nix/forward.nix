# The units that bring a socket of the directory to a program that listens on TCP, with
# systemd's own proxy: as attributes for NixOS' systemd.sockets.<name> and
# systemd.services.<name>. The module uses them, and nix/systemd has them rendered for
# Debian's node exporter. A program that accepts the socket itself needs no proxy, but the
# same socket unit. Uses nothing but builtins.
{
  name, # of the target
  hostport, # address and port of the program
  host, # the address alone, without brackets
  path, # of the socket
  proxy, # path of systemd-socket-proxyd
}:
let
  unit = "aegis-forward-${name}";
in
{
  socket = {
    description = "Socket of ${name} for Aegis";
    documentation = [
      "https://tulpa.dev/cadey/aegis"
      "man:aegis(8)"
    ];
    wantedBy = [ "sockets.target" ];
    listenStreams = [ path ];
    socketConfig = {
      SocketGroup = "within";
      SocketMode = "0660";
      # A leftover socket would be a target that fails.
      RemoveOnStop = true;
      # By default, systemd removes the socket of a service that keeps failing to start:
      # the target would vanish instead of being down.
      TriggerLimitIntervalSec = 0;
    };
  };

  service = {
    description = "Forward the socket of ${name} to ${hostport}";
    documentation = [ "man:systemd-socket-proxyd(8)" ];
    requires = [ "${unit}.socket" ];
    after = [ "${unit}.socket" ];
    # Reaching a start limit would fail the socket unit too: the target would vanish
    # instead of being down.
    startLimitIntervalSec = 0;
    serviceConfig = {
      Type = "notify";
      # Exits when nobody scrapes, and the next scrape starts it again. The time is
      # longer than any usual scrape interval.
      ExecStart = "${proxy} --exit-idle-time=5min ${hostport}";
      # Each connection needs six descriptors, and there are up to 256.
      LimitNOFILE = 2048;
      MemoryMax = "64M";
      TasksMax = 16;

      # It connects to the program and to nothing else. It needs AF_UNIX to accept
      # scrapes and to notify systemd.
      IPAddressAllow = host;
      IPAddressDeny = "any";
      RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6";
      SocketBindDeny = "any";

      # Also turns on ProtectSystem=strict, PrivateTmp=, RemoveIPC=, NoNewPrivileges=
      # and RestrictSUIDSGID=.
      DynamicUser = true;
      CapabilityBoundingSet = "";
      LockPersonality = true;
      MemoryDenyWriteExecute = true;
      PrivateDevices = true;
      PrivateIPC = true;
      PrivateUsers = true;
      ProcSubset = "pid";
      ProtectClock = true;
      ProtectControlGroups = true;
      ProtectHome = true;
      ProtectHostname = true;
      ProtectKernelLogs = true;
      ProtectKernelModules = true;
      ProtectKernelTunables = true;
      ProtectProc = "invisible";
      RestrictNamespaces = true;
      RestrictRealtime = true;
      SystemCallArchitectures = "native";
      SystemCallErrorNumber = "EPERM";
      SystemCallFilter = [
        "@system-service"
        "~@privileged @resources"
      ];
      UMask = "0777";
    };
  };
}
