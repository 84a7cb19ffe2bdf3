# A hash of the settings of a socket unit of NixOS, to restart it when they change.
socket:
builtins.hashString "sha256" (builtins.toJSON { inherit (socket) listenStreams socketConfig; })
