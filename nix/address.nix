# What an address, a prefix and an address with a port are, by nixpkgs' lib alone,
# so that a mistake is found while the configuration is evaluated and not when
# the socket unit fails on the host.
{ lib }:
let
  inherit (builtins)
    all
    bitAnd
    concatMap
    elemAt
    foldl'
    genList
    length
    match
    ;

  decimal = "(0|[1-9][0-9]{0,4})";

  # The number that s is, or null: no sign, no leading zero, at most max.
  number =
    max: s:
    let
      n = lib.toIntBase10 s;
    in
    if match decimal s != null && n <= max then n else null;

  # The bytes of an IPv4 address, or null.
  ipv4 =
    s:
    let
      bytes = map (number 255) (lib.splitString "." s);
    in
    if length bytes == 4 && all (b: b != null) bytes then bytes else null;

  # The eight 16-bit groups of an IPv6 address, or null. No zone ("%wg0"), and no
  # IPv4 address at its end.
  ipv6 =
    s:
    let
      halves = lib.splitString "::" s;
      groupsOf = half: if half == "" then [ ] else lib.splitString ":" half;
      given = concatMap groupsOf halves;
      zeros = genList (_: "0") (8 - length given);
      groups =
        if length halves == 1 then
          given
        else
          groupsOf (elemAt halves 0) ++ zeros ++ groupsOf (elemAt halves 1);
      whole = if length halves == 1 then length given == 8 else length halves == 2 && length given <= 7;
    in
    if whole && all (g: match "[0-9a-fA-F]{1,4}" g != null) given then
      map lib.fromHexString groups
    else
      null;

  # { groups; width; } of an address of either kind, or null.
  address =
    s:
    let
      four = ipv4 s;
      six = ipv6 s;
    in
    if four != null then
      {
        groups = four;
        width = 8;
      }
    else if six != null then
      {
        groups = six;
        width = 16;
      }
    else
      null;

  bitsOf = a: length a.groups * a.width;

  powerOfTwo = n: foldl' (x: _: x * 2) 1 (genList (i: i) n);

  # Whether every bit behind the first `bits` of the address is zero.
  endsAt =
    a: bits:
    all (x: x) (
      lib.imap0 (
        i: group:
        let
          behind = lib.max 0 (lib.min a.width ((i + 1) * a.width - bits));
        in
        bitAnd group (powerOfTwo behind - 1) == 0
      ) a.groups
    );
in
{
  # { host; port; wildcard; loopback; } of "ADDRESS:PORT", or null.
  parseHostport =
    s:
    let
      four = match "([0-9.]+):([0-9]+)" s;
      six = match "\\[([0-9a-fA-F:]+)]:([0-9]+)" s;
      parts = if four != null then four else six;
      bare = elemAt parts 0;
      groups = if four != null then ipv4 bare else ipv6 bare;
      port = number 65535 (elemAt parts 1);
    in
    if parts == null || groups == null || port == null || port == 0 then
      null
    else
      {
        inherit port;
        host = if four != null then bare else "[${bare}]";
        wildcard = all (g: g == 0) groups;
        loopback =
          if four != null then
            elemAt groups 0 == 127
          else
            groups == [
              0
              0
              0
              0
              0
              0
              0
              1
            ];
      };

  # What is wrong with s as an address or a prefix, or null if it is one. The
  # same that the daemon's -allow takes.
  prefixProblem =
    s:
    let
      parts = lib.splitString "/" s;
      a = address (elemAt parts 0);
      bits = number (bitsOf a) (elemAt parts 1);
    in
    if length parts > 2 || a == null || (length parts == 2 && bits == null) then
      "is neither an address nor a prefix such as 10.100.0.0/24 or fda2::/16"
    else if length parts == 2 && !endsAt a bits then
      "has bits set behind its length: write the network's first address, or the address alone"
    else
      null;
}
