# The hardening of the units, listed by hand. nix/systemd is rendered from nix/units.nix
# and nix/forward.nix, so it follows a line that is deleted or weakened there by mistake.
# This list does not.
{ lib, ... }:
let
  rendered = import ../../systemd/render.nix {
    units = import ../../units.nix {
      exe = "/bin/aegis";
      allow = [
        "10.100.0.1"
        "fda2::/16"
      ];
    };
  };

  # Returns the lines of one section, sorted, without the settings to ignore.
  settings =
    unit: section: ignored:
    let
      text = lib.elemAt (lib.splitString "[${section}]\n" rendered.${unit}) 1;
      lines = lib.splitString "\n" (lib.head (lib.splitString "\n[" text));
      name = line: lib.head (lib.splitString "=" line);
    in
    lib.naturalSort (lib.filter (line: line != "" && !lib.elem (name line) ignored) lines);
in
{
  testSocketHardening = {
    expr = settings "aegis.socket" "Socket" [ "ListenStream" ];
    expected = lib.naturalSort [
      "FreeBind=true"
      "Backlog=4096"
      "TriggerLimitIntervalSec=0"
      "IPAddressDeny=any"
      "IPAddressAllow=10.100.0.1"
      "IPAddressAllow=fda2::/16"
    ];
  };

  testServiceHasNoStartLimit = {
    expr = lib.elem "StartLimitIntervalSec=0" (settings "aegis.service" "Unit" [ ]);
    expected = true;
  };

  testServiceHardening = {
    expr = settings "aegis.service" "Service" [
      "ExecStart"
      "NotifyAccess"
      "Restart"
      "RestartMaxDelaySec"
      "RestartSec"
      "RestartSteps"
      "TimeoutStartSec"
      "TimeoutStopSec"
      "TimerSlackNSec"
      "Type"
    ];
    expected = lib.naturalSort [
      "User=aegis"
      "Group=within"
      "WatchdogSec=10s"

      # Resources.
      "LimitCORE=0"
      "LimitNOFILE=65536"
      "MemoryMax=256M"
      "TasksMax=256"

      # Network: only AF_UNIX.
      "IPAddressDeny=any"
      "PrivateNetwork=true"
      "RestrictAddressFamilies=AF_UNIX"
      "SocketBindDeny=any"

      # Privileges.
      "AmbientCapabilities="
      "CapabilityBoundingSet="
      "KeyringMode=private"
      "LockPersonality=true"
      "NoNewPrivileges=true"
      "PrivateIPC=true"
      "PrivateUsers=true"
      "RemoveIPC=true"
      "RestrictNamespaces=true"
      "RestrictRealtime=true"
      "RestrictSUIDSGID=true"

      # Files.
      "InaccessiblePaths=-/run/dbus -/run/user"
      "PrivateMounts=true"
      "PrivateTmp=disconnected"
      "ProtectHome=true"
      "ProtectSystem=strict"
      "TemporaryFileSystem=/var:ro"
      "UMask=0777"

      # Programs and memory.
      "ExecPaths=/bin/aegis"
      "MemoryDenyWriteExecute=true"
      "NoExecPaths=/"

      # Devices and the kernel.
      "DevicePolicy=closed"
      "PrivateDevices=true"
      "ProcSubset=pid"
      "ProtectClock=true"
      "ProtectControlGroups=strict"
      "ProtectHostname=true"
      "ProtectKernelLogs=true"
      "ProtectKernelModules=true"
      "ProtectKernelTunables=true"
      "ProtectProc=invisible"

      # System calls.
      "SystemCallArchitectures=native"
      "SystemCallErrorNumber=EPERM"
      "SystemCallFilter=@basic-io @io-event @signal"
      "SystemCallFilter=accept4 connect getpeername getsockname getsockopt recvfrom recvmsg sendmsg sendto setsockopt shutdown socket"
      "SystemCallFilter=clone clone3 madvise prctl tgkill uname"
      "SystemCallFilter=faccessat faccessat2 fcntl fstat fstatfs getcwd getdents64 lgetxattr newfstatat openat pipe2 readlinkat splice statfs statx"
      "SystemCallFilter=fcntl64 fstat64 fstatat64 fstatfs64 statfs64"
    ];
  };

  # If a service keeps crashing, its target is down, and does not vanish.
  testForwardHasNoStartLimit = {
    expr = {
      service = lib.elem "StartLimitIntervalSec=0" (settings "aegis-forward-node.service" "Unit" [ ]);
      socket = settings "aegis-forward-node.socket" "Socket" [ "ListenStream" ];
    };
    expected = {
      service = true;
      socket = [
        "RemoveOnStop=true"
        "SocketGroup=within"
        "SocketMode=0660"
        "TriggerLimitIntervalSec=0"
      ];
    };
  };

  testForwardHardening = {
    expr = settings "aegis-forward-node.service" "Service" [
      "ExecStart"
      "Type"
    ];
    expected = lib.naturalSort [
      "LimitNOFILE=2048"
      "MemoryMax=64M"
      "TasksMax=16"

      # Network: only the program.
      "IPAddressAllow=127.0.0.1"
      "IPAddressDeny=any"
      "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
      "SocketBindDeny=any"

      # Privileges.
      "CapabilityBoundingSet="
      "DynamicUser=true"
      "LockPersonality=true"
      "MemoryDenyWriteExecute=true"
      "PrivateIPC=true"
      "PrivateUsers=true"
      "RestrictNamespaces=true"
      "RestrictRealtime=true"

      # Files, devices and the kernel.
      "PrivateDevices=true"
      "ProcSubset=pid"
      "ProtectClock=true"
      "ProtectControlGroups=true"
      "ProtectHome=true"
      "ProtectHostname=true"
      "ProtectKernelLogs=true"
      "ProtectKernelModules=true"
      "ProtectKernelTunables=true"
      "ProtectProc=invisible"
      "UMask=0777"

      # System calls.
      "SystemCallArchitectures=native"
      "SystemCallErrorNumber=EPERM"
      "SystemCallFilter=@system-service"
      "SystemCallFilter=~@privileged @resources"
    ];
  };
}
