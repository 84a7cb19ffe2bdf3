# The two units of Aegis, as attributes for NixOS' systemd.sockets.<name> and
# systemd.services.<name>. They are written only here: the NixOS module uses them,
# and nix/systemd has them rendered as unit files. Uses nothing but builtins.
{
  exe, # path of the aegis program, which must be statically linked
  hostport ? "[::1]:31337",
  sockdir ? "/srv/within/run",
  varlinkdir ? null, # directory of Varlink sockets
  allow ? [ ], # addresses and prefixes that may connect; empty: all
  targetsFile ? null, # path of the targets file
  webConfigFile ? null, # path of the web file: TLS and authentication
  sockets ? [ ], # paths of sockets outside sockdir
  logLevel ? null,
  extraFlags ? [ ],
}:
let
  documentation = [
    "https://tulpa.dev/cadey/aegis"
    "man:aegis(8)"
  ];

  optional = condition: value: if condition then [ value ] else [ ];
  optionalAttrs = condition: attrs: if condition then attrs else { };

  inVar = builtins.any (path: builtins.match "/var(/.*)?" (toString path) != null) (
    sockets
    ++ [
      sockdir
      varlinkdir
      webConfigFile
    ]
  );

  # Quotes an argument for ExecStart= if it needs quotes.
  quoted =
    arg: if builtins.match "[A-Za-z0-9%/._@:=,+-]+" arg != null then arg else builtins.toJSON arg;
  # Keeps systemd from expanding specifiers and variables in an argument.
  literal = builtins.replaceStrings [ "%" "$" ] [ "%%" "$$" ];
in
{
  socket = {
    description = "Aegis metrics proxy socket";
    inherit documentation;
    wantedBy = [ "sockets.target" ];
    listenStreams = [ hostport ];
    socketConfig = {
      # A WireGuard address may not exist yet at boot.
      FreeBind = true;
      # Scrapers that connect during a restart wait here.
      Backlog = 4096;
      # By default, systemd closes the socket of a service that keeps failing to
      # start. PollLimitIntervalSec= still limits how often it tries.
      TriggerLimitIntervalSec = 0;
    }
    # The kernel filters too, before -allow does. The filter must be on the socket
    # unit: the service's own does not apply to a listener that it inherits.
    // optionalAttrs (allow != [ ]) {
      IPAddressDeny = "any";
      IPAddressAllow = allow;
    };
  };

  service = {
    description = "Aegis metrics proxy for services on Unix sockets";
    inherit documentation;
    requires = [ "aegis.socket" ];
    after = [ "aegis.socket" ];
    # No start limit: reaching it would fail the socket unit too, and every scrape
    # until somebody intervenes. RestartSec= spaces the restarts.
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
        ++ optional (varlinkdir != null) "-varlinkdir ${varlinkdir}"
        ++ optional (allow != [ ]) "-allow ${builtins.concatStringsSep "," allow}"
        ++ optional (targetsFile != null) "-config.file ${targetsFile}"
        ++ optional (webConfigFile != null) "-web.config.file ${quoted webConfigFile}"
        ++ optional (logLevel != null) "-log.level ${logLevel}"
        ++ map (flag: quoted (literal flag)) extraFlags
      );
      User = "aegis";
      Group = "within";

      # After a failure. Scrapers wait in the socket's queue meanwhile, far longer than
      # a second. systemd before 254 ignores the other two lines, which keep a service
      # that never starts from filling the journal.
      Restart = "always";
      RestartSec = "1s";
      RestartSteps = 10;
      RestartMaxDelaySec = "10s";
      WatchdogSec = "10s";
      TimeoutStartSec = "10s";
      # On a stop, Aegis finishes the scrapes in flight, which takes up to six seconds.
      TimeoutStopSec = "15s";

      # Go's monitor thread polls less often then (see cmd/aegis/main.go).
      TimerSlackNSec = "5ms";

      # Each client connection and each connection to a service needs a descriptor.
      LimitNOFILE = 65536;
      MemoryMax = "256M";
      # The Go runtime needs a thread for each processor, and one for each blocking
      # system call, for example on a file system that hangs.
      TasksMax = 256;

      # The service inherits its listener, so it needs no network of its own. It
      # needs AF_UNIX to connect to services and to notify systemd.
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

      # The service can write to no file. Connecting to a socket is still possible.
      ProtectSystem = "strict";
      ProtectHome = true;
      PrivateTmp = "disconnected";
      PrivateMounts = true;
      InaccessiblePaths = "-/run/dbus -/run/user";
      UMask = "0777";
      # The service can execute only its own program, which needs no loader.
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
      # Aegis connects to sockets through /proc/self/fd and needs nothing else in
      # /proc.
      ProtectProc = "invisible";
      ProcSubset = "pid";

      SystemCallArchitectures = "native";
      SystemCallErrorNumber = "EPERM";
      # Only what the Go runtime and Aegis use; systemd adds @default. A group is
      # listed only if all of it is needed. Any other call fails with EPERM instead
      # of killing the process.
      SystemCallFilter = [
        "@basic-io @io-event @signal"
        "accept4 connect getpeername getsockname getsockopt recvfrom recvmsg sendmsg sendto setsockopt shutdown socket"
        "clone clone3 madvise prctl tgkill uname"
        "faccessat faccessat2 fcntl fstat fstatfs getcwd getdents64 lgetxattr newfstatat openat pipe2 readlinkat splice statfs statx"
        # As 32-bit machines call them.
        "fcntl64 fstat64 fstatat64 fstatfs64 statfs64"
      ];
    }
    # Aegis needs nothing in /var, unless the sockets are there. A bind mount of
    # their directory into an empty /var would not do: it would keep pointing to the
    # old directory after somebody recreates it.
    // optionalAttrs (!inVar) { TemporaryFileSystem = "/var:ro"; };
  };
}
