# Parses addresses, prefixes and host:port strings with nothing but nixpkgs' lib, so
# that evaluation finds a mistake before the socket unit fails on the host.
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

  # Parses s as a decimal number of at most max, without a sign or leading zeros.
  # Returns null if it is not one.
  number =
    max: s:
    let
      n = lib.toIntBase10 s;
    in
    if match decimal s != null && n <= max then n else null;

  # Returns the four bytes of an IPv4 address, or null.
  ipv4 =
    s:
    let
      bytes = map (number 255) (lib.splitString "." s);
    in
    if length bytes == 4 && all (b: b != null) bytes then bytes else null;

  # Returns the eight 16-bit groups of an IPv6 address, or null. A zone ("%wg0") and
  # an embedded IPv4 address are not accepted.
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
      complete = if length halves == 1 then length given == 8 else length halves == 2 && length given <= 7;
    in
    if complete && all (g: match "[0-9a-fA-F]{1,4}" g != null) given then
      map lib.fromHexString groups
    else
      null;

  # Returns { groups; width; } of an IPv4 or IPv6 address, or null.
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

  # Reports whether all bits after the first `bits` of the address are zero.
  hostBitsAreZero =
    a: bits:
    all (x: x) (
      lib.imap0 (
        i: group:
        let
          hostBits = lib.max 0 (lib.min a.width ((i + 1) * a.width - bits));
        in
        bitAnd group (powerOfTwo hostBits - 1) == 0
      ) a.groups
    );
in
{
  # Returns { address; host; port; family; wildcard; loopback; } of "ADDRESS:PORT", or
  # null. host is the address as it stands in a URL.
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
        address = bare;
        family = if four != null then "IPv4" else "IPv6";
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

  # The family of a valid address or prefix.
  familyOf = prefix: if lib.hasInfix ":" prefix then "IPv6" else "IPv4";

  # Says what is wrong with s as an address or a prefix, or returns null if it is
  # valid. It accepts what the -allow flag accepts.
  prefixProblem =
    s:
    let
      parts = lib.splitString "/" s;
      a = address (elemAt parts 0);
      bits = number (bitsOf a) (elemAt parts 1);
    in
    if length parts > 2 || a == null || (length parts == 2 && bits == null) then
      "is not an address or a prefix such as 10.100.0.0/24 or fda2::/16"
    else if length parts == 2 && !hostBitsAreZero a bits then
      "has bits set after the prefix length: write the first address of the network, or an address without a length"
    else
      null;
}
