# Which settings of targets are refused. TestNixTargets in internal/targetsfile gives the
# same ones to the program.
{
  enabled,
  failing,
  lib,
  ...
}:
let
  cases = lib.importJSON ./targets.json;
  # The options that the messages name.
  refused =
    { targets, ... }:
    map (message: lib.head (builtins.match "within.services.aegis.([^ ]*) .*" message)) (
      failing (enabled {
        inherit targets;
      })
    );
  expected = case: lib.optional (case ? refused) case.refused;
  message = targets: lib.concatStrings (failing (enabled { inherit targets; }));
in
{
  testTargetsJson = {
    expr = lib.filter (case: refused case != expected case) cases;
    expected = [ ];
  };

  testMessages = {
    expr = map message [
      { "bad name" = { }; }
      { metrics.socket = "/run/m.sock"; }
      { "x.sock" = { }; }
      { rpm-ostree.timeout = "5"; }
      { "a.b".path = "m?x"; }
      {
        x.path = "/m";
        x.protocol = "raw";
      }
      { x.socket = "x.sock"; }
      { x.socket = "/run/a\nb.sock"; }
      { x.labels.my-team = "a"; }
      { x.allow.addresses = [ "10.100.0.1/24" ]; }
      { x.allow.certificates = [ "" ]; }
      {
        a.labels.job = "b";
        b = { };
      }
    ];
    expected = map (text: "within.services.aegis.${text}\n") [
      ''targets has "bad name", which is not a valid name. A name is 1 to 250 letters, digits and . _ - @ : + and begins with a letter or digit.''
      ''targets has "metrics", which is reserved, because /metrics serves Aegis' own metrics. Choose another name, and set its socket.''
      ''targets has "x.sock", which is the name of a socket. Leave out .sock.''
      ''targets.rpm-ostree.timeout is "5", which is not a duration from 100ms to 5m. Write numbers with a unit (m, s or ms), such as "5s" or "1m30s".''
      ''targets."a.b".path is "m?x", which is not the path of a URL. Begin it with a slash, percent-encode special characters ("%20" for a space, "%25" for %), and put a query in params.''
      ''targets.x.path is set, but protocol is "raw", which sends no HTTP request. Remove one of the two.''
      ''targets.x.socket is "x.sock", which is not an absolute path without "//", ".", ".." and line breaks. Write a path such as "/run/rpm-ostreed.promsock".''
      ''targets.x.socket is "/run/a\nb.sock", which is not an absolute path without "//", ".", ".." and line breaks. Write a path such as "/run/rpm-ostreed.promsock".''
      ''targets.x.labels has "my-team", which is not a valid label name. Use letters, digits and _, and do not begin with a digit or with __.''
      ''targets.x.allow.addresses has "10.100.0.1/24", which has bits set after the prefix length: write the first address of the network, or an address without a length.''
      ''targets.x.allow.certificates has an empty name. Write the common name or a DNS name of the certificate.''
      ''targets has "a" and "b" with the same labels, so that Prometheus could not tell them apart. Change the labels of one.''
    ];
  };
}
