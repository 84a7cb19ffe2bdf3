# Renders units as unit files, for systems without Nix and for the end-to-end test: those
# of nix/units.nix, and those of nix/forward.nix for Debian's node exporter. After a
# change to these, run:
#
#   .ci/nix render
{
  units ? import ../units.nix { exe = "/usr/local/bin/aegis"; },
}:
let
  forward = import ../forward.nix {
    name = "node";
    hostport = "127.0.0.1:9100";
    host = "127.0.0.1";
    path = "/srv/within/run/node.sock";
    proxy = "/usr/lib/systemd/systemd-socket-proxyd";
  };

  value =
    v:
    if v == true then
      "true"
    else if v == false then
      "false"
    else
      toString v;
  # A list becomes one line for each element.
  option = name: v: map (v: "${name}=${value v}\n") (if builtins.isList v then v else [ v ]);
  options = attrs: builtins.concatLists (builtins.attrValues (builtins.mapAttrs option attrs));
  section = name: lines: "[${name}]\n" + builtins.concatStringsSep "" lines;

  header = unit: option "Description" unit.description ++ option "Documentation" unit.documentation;

  socket =
    unit:
    builtins.concatStringsSep "\n" [
      (section "Unit" (header unit))
      (section "Socket" (option "ListenStream" unit.listenStreams ++ options unit.socketConfig))
      (section "Install" (option "WantedBy" unit.wantedBy))
    ];
  service =
    unit:
    builtins.concatStringsSep "\n" [
      (section "Unit" (
        header unit
        ++ option "Requires" unit.requires
        ++ option "After" unit.after
        ++ option "StartLimitIntervalSec" unit.startLimitIntervalSec
      ))
      (section "Service" (options unit.serviceConfig))
    ];
in
{
  "aegis.socket" = socket units.socket;
  "aegis.service" = service units.service;
  "aegis-forward-node.socket" = socket forward.socket;
  "aegis-forward-node.service" = service forward.service;
}
