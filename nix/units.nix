# The two units of Aegis, in the attributes that NixOS' systemd.sockets.<name>
# and systemd.services.<name> take. Written once: the module uses them on NixOS,
# and nix/systemd holds them rendered for everyone else. Nothing but builtins.
{
  exe, # path of the aegis program, statically linked
  hostport ? "[::1]:31337",
  sockdir ? "/srv/within/run",
  allow ? [ ], # addresses and prefixes that may connect; none: all
  targetsFile ? null, # path of the targets file
  webConfigFile ? null, # path of the file for TLS and authentication
  sockets ? [ ], # paths of sockets outside of sockdir
}:
let
  inVar = builtins.any (path: builtins.match "/var(/.*)?" path != null) ([ sockdir ] ++ sockets);
  optionalAttrs = condition: attrs: if condition then attrs else { };
in
{
  socket = {
    description = "Where Prometheus asks Aegis for metrics";
    documentation = [ "https://tulpa.dev/cadey/aegis" ];
    wantedBy = [ "sockets.target" ];
    listenStreams = [ hostport ];
    socketConfig = {
      # A WireGuard address may not exist yet at boot.
      FreeBind = true;
      # Scrapers that come during a restart wait here.
      Backlog = 4096;
      # By default a service that fails at each start takes its socket down with
      # it. PollLimitIntervalSec= still spaces the attempts.
      TriggerLimitIntervalSec = 0;
    }
    # A second wall before -allow. It stands on the socket unit: the service's own
    # does not apply to a listener it inherits.
    // optionalAttrs (allow != [ ]) {
      IPAddressDeny = "any";
      IPAddressAllow = allow;
    };
  };

  service = {
    description = "Aegis, metrics of services on Unix sockets for a remote Prometheus";
    documentation = [ "https://tulpa.dev/cadey/aegis" ];
    requires = [ "aegis.socket" ];
    after = [ "aegis.socket" ];
    # Restarts are spaced (RestartSec= and on) instead of counted: a limit that is
    # hit fails the socket unit too, and every scrape until someone steps in.
    startLimitIntervalSec = 0;
    serviceConfig = {
      Type = "notify-reload";
      NotifyAccess = "main";
      ExecStart = builtins.concatStringsSep " " (
        [
          exe
          "-sockdir"
          sockdir
        ]
        ++ (if allow == [ ] then [ ] else [ "-allow ${builtins.concatStringsSep "," allow}" ])
        ++ (if targetsFile == null then [ ] else [ "-config.file ${targetsFile}" ])
        ++ (if webConfigFile == null then [ ] else [ "-web.config.file ${webConfigFile}" ])
      );
      User = "aegis";
      Group = "within";

      Restart = "always";
      RestartSec = "100ms";
      RestartSteps = 10;
      RestartMaxDelaySec = "10s";
      WatchdogSec = "10s";
      TimeoutStartSec = "10s";
      # A stop finishes the scrapes under way, for about six seconds at most.
      TimeoutStopSec = "15s";

      # A descriptor for each connection of a scraper and each to a service.
      LimitNOFILE = 65536;
      MemoryMax = "256M";
      # Threads of the Go runtime: one for each processor, and one for each
      # system call that blocks, as on a file system that hangs.
      TasksMax = 256;

      # The listener is inherited, so the service needs no network of its own.
      # AF_UNIX is for the services behind, and to tell systemd.
      PrivateNetwork = true;
      RestrictAddressFamilies = "AF_UNIX";
      IPAddressDeny = "any";
      SocketBindDeny = "any";

      CapabilityBoundingSet = "";
      AmbientCapabilities = "";
      NoNewPrivileges = true;
      RestrictSUIDSGID = true;
      PrivateUsers = true;
      LockPersonality = true;
      RestrictRealtime = true;
      RestrictNamespaces = true;
      KeyringMode = "private";
      RemoveIPC = true;
      PrivateIPC = true;

      # Nothing can be written. Connecting to a socket is no writing.
      ProtectSystem = "strict";
      ProtectHome = true;
      PrivateTmp = "disconnected";
      PrivateMounts = true;
      InaccessiblePaths = "-/run/dbus -/run/user";
      UMask = "0777";
      # One program can be run: this one, and it needs no loader.
      NoExecPaths = "/";
      ExecPaths = exe;
      MemoryDenyWriteExecute = true;
      LimitCORE = 0;

      PrivateDevices = true;
      DevicePolicy = "closed";
      ProtectClock = true;
      ProtectControlGroups = "strict";
      ProtectHostname = true;
      ProtectKernelLogs = true;
      ProtectKernelModules = true;
      ProtectKernelTunables = true;
      # /proc/self/fd is how a socket is connected to; nothing else in /proc is
      # needed.
      ProtectProc = "invisible";
      ProcSubset = "pid";

      SystemCallArchitectures = "native";
      SystemCallErrorNumber = "EPERM";
      # What the Go runtime and a relay use, and nothing else: no groups of which
      # a part would do. Beside these there is always @default. A call that is
      # not here fails with EPERM, it does not kill.
      SystemCallFilter = [
        "@basic-io @io-event @signal"
        "accept4 connect getpeername getsockname getsockopt recvfrom recvmsg sendmsg sendto setsockopt shutdown socket"
        "clone clone3 madvise prctl tgkill uname"
        "faccessat faccessat2 fcntl fstat fstatfs getcwd getdents64 newfstatat openat pipe2 readlinkat splice statfs statx"
      ];
    }
    # Nothing of /var is needed, unless the sockets are there. Binding their
    # folder into an empty /var would not do: made anew, it would be lost.
    // optionalAttrs (!inVar) { TemporaryFileSystem = "/var:ro"; };
  };
}
