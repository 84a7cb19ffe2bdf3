# Renders nix/units.nix as unit files, for systems without Nix and for the
# end-to-end test. After a change to nix/units.nix, run:
#
#   .ci/nix render
{
  units ? import ../units.nix { exe = "/usr/local/bin/aegis"; },
}:
let
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
in
{
  "aegis.socket" = builtins.concatStringsSep "\n" [
    (section "Unit" (header units.socket))
    (section "Socket" (
      option "ListenStream" units.socket.listenStreams ++ options units.socket.socketConfig
    ))
    (section "Install" (option "WantedBy" units.socket.wantedBy))
  ];
  "aegis.service" = builtins.concatStringsSep "\n" [
    (section "Unit" (
      header units.service
      ++ option "Requires" units.service.requires
      ++ option "After" units.service.after
      ++ option "StartLimitIntervalSec" units.service.startLimitIntervalSec
    ))
    (section "Service" (options units.service.serviceConfig))
  ];
}
