# The settings of a socket unit that listens in the directory. Uses nothing but builtins.
{
  SocketGroup = "within";
  SocketMode = "0660";
  # A leftover socket would be a target that fails.
  RemoveOnStop = true;
  # By default, systemd removes the socket of a service that keeps failing to start: the
  # target would vanish instead of being down.
  TriggerLimitIntervalSec = 0;
}
