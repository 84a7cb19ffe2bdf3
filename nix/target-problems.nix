# Finds mistakes in the settings of targets, so that a switch never activates a targets
# file that stops Aegis at its next start. The program has the same rules, in
# internal/targetsfile. nix/tests/eval/targets.json has values that both must accept or
# refuse: the evaluation tests read it, and so does a test of that package.
{ lib }:
let
  inherit (lib)
    attrNames
    concatLists
    concatMap
    mapAttrsToList
    optional
    ;
  inherit (import ./address.nix { inherit lib; }) prefixProblem;

  quoted = builtins.toJSON;

  isCleanPath =
    path:
    builtins.match "(/[^/[:cntrl:]]+)+" path != null && builtins.match ".*/[.][.]?(/.*)?" path == null;

  # A path of a URL without a query, as RFC 3986 allows it.
  urlPath = "/([]!$&'()*+,./0-9:;=@A-Z[_a-z~-]|%[0-9a-fA-F][0-9a-fA-F])*";

  # A name or an address, with a port or without one.
  hostHeader = "[][A-Za-z0-9_.:-]+";

  # The milliseconds of a duration such as "1m30s", or null if it is none.
  milliseconds =
    duration:
    let
      parts = builtins.split "0*([0-9]+([.][0-9]+)?)(h|m|s|ms|us|ns)" duration;
      amounts = lib.filter builtins.isList parts;
      factors = {
        h = 3600000;
        m = 60000;
        s = 1000;
        ms = 1;
        us = 0.001;
        ns = 0.000001;
      };
      value = amount: builtins.fromJSON (lib.elemAt amount 0) * factors.${lib.elemAt amount 2};
    in
    if amounts == [ ] || lib.any (part: builtins.isString part && part != "") parts then
      null
    else
      lib.foldl' (sum: amount: sum + value amount) 0 amounts;

  # What only an HTTP request has.
  needsHttp =
    target: isSet:
    optional (isSet && !lib.elem target.protocol [ null "http" ])
      ''is set, but protocol is "${target.protocol}", which sends no HTTP request. Remove one of the two.'';

  checks = name: target: {
    socket =
      optional (target.socket != null && !isCleanPath target.socket)
        ''is ${quoted target.socket}, which is not an absolute path without "//", ".", ".." and line breaks. Write a path such as "/run/rpm-ostreed.promsock".'';
    path =
      optional (target.path != null && builtins.match urlPath target.path == null)
        ''is ${quoted target.path}, which is not the path of a URL. Begin it with a slash, percent-encode special characters ("%20" for a space, "%25" for %), and put a query in params.''
      ++ needsHttp target (target.path != null);
    params = needsHttp target (target.params != { });
    host =
      optional (target.host != null && builtins.match hostHeader target.host == null)
        ''is ${quoted target.host}, which is not a name or an address. Write a host such as "app.example.org" or "[::1]:8080".''
      ++ needsHttp target (target.host != null);
    # The text of a raw service can have a type too.
    content_type = lib.optionals (target.protocol != "raw") (
      needsHttp target (target.content_type != null)
    );
    timeout =
      let
        ms = milliseconds target.timeout;
      in
      optional (target.timeout != null && (ms == null || ms < 100 || ms > 300000))
        ''is ${quoted target.timeout}, which is not a duration from 100ms to 5m. Write numbers with a unit (m, s or ms), such as "5s" or "1m30s".'';
    labels = concatMap (
      label:
      optional (builtins.match "[a-zA-Z_][a-zA-Z0-9_]*" label == null || lib.hasPrefix "__" label)
        "has ${quoted label}, which is not a valid label name. Use letters, digits and _, and do not begin with a digit or with __."
    ) (attrNames target.labels);
    allow =
      optional
        (target.allow != null && target.allow.addresses == [ ] && target.allow.certificates == [ ])
        "is empty, so nobody may scrape ${name}. If everybody may, remove allow. If nobody may, set enabled = false instead.";
    "allow.addresses" = concatMap (
      prefix: optional (prefixProblem prefix != null) "has ${quoted prefix}, which ${prefixProblem prefix}."
    ) (target.allow.addresses or [ ]);
    "allow.certificates" =
      optional (lib.elem "" (target.allow.certificates or [ ]))
        "has an empty name. Write the common name or a DNS name of the certificate.";
  };

  nameProblem =
    name: target:
    if builtins.match "[A-Za-z0-9][A-Za-z0-9._@:+-]*" name == null || lib.stringLength name > 250 then
      "has ${quoted name}, which is not a valid name. A name is 1 to 250 letters, digits and . _ - @ : + and begins with a letter or digit."
    else if name == "metrics" then
      ''has "metrics", which is reserved, because /metrics serves Aegis' own metrics. Choose another name, and set its socket.''
    else if lib.hasSuffix ".sock" name && target.socket == null then
      "has ${quoted name}, which is the name of a socket. Leave out .sock."
    else
      null;

  # Prometheus could not tell two targets with the same labels apart.
  duplicates =
    targets:
    let
      labelsOf = name: builtins.toJSON ({ job = name; } // targets.${name}.labels);
      byLabels = lib.groupBy labelsOf (lib.filter (name: targets.${name}.enabled) (attrNames targets));
    in
    concatMap (
      names:
      optional (lib.length names > 1)
        "targets has ${lib.concatMapStringsSep " and " quoted names} with the same labels, so that Prometheus could not tell them apart. Change the labels of one."
    ) (lib.attrValues byLabels);
in
{
  inherit nameProblem;

  # Returns what is wrong. Each problem begins with the option, relative to
  # within.services.aegis.
  targetProblems =
    targets:
    concatLists (
      mapAttrsToList (
        name: target:
        if nameProblem name target != null then
          [ "targets ${nameProblem name target}" ]
        else
          concatLists (
            mapAttrsToList (
              key: map (problem: "targets.${lib.strings.escapeNixIdentifier name}.${key} ${problem}")
            ) (checks name target)
          )
      ) targets
    )
    ++ duplicates targets;
}
