# Parses addresses, prefixes and host:port strings with nothing but nixpkgs' lib, so
# that evaluation finds a mistake before the socket unit fails on the host.
#
# An address is a list of its groups: the four bytes of an IPv4 address, or the eight
# 16-bit numbers of an IPv6 address.
{ lib }:
let
  inherit (builtins)
    all
    concatMap
    elemAt
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

  # Returns the groups of an IPv4 address, or null.
  ipv4 =
    s:
    let
      bytes = map (number 255) (lib.splitString "." s);
    in
    if length bytes == 4 && all (b: b != null) bytes then bytes else null;

  # Returns the groups of an IPv6 address, or null. A zone ("%wg0") and an embedded IPv4
  # address are not accepted.
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

  # Returns the groups of an address, or null.
  parseAddress = s: if ipv4 s != null then ipv4 s else ipv6 s;

  # Returns the bits of an address, the first one first.
  bitsOf =
    address:
    let
      bits = width: n: lib.optionals (width > 0) (bits (width - 1) (n / 2) ++ [ (lib.mod n 2) ]);
    in
    concatMap (bits (if length address == 4 then 8 else 16)) address;
in
{
  # Returns { address; host; port; family; wildcard; loopback; } of "ADDRESS:PORT", or
  # null. host is the address as it stands in a URL.
  parseHostport =
    s:
    let
      parts = match "([0-9.]+|\\[[0-9a-fA-F:]+]):([0-9]+)" s;
      host = elemAt parts 0;
      address = lib.removePrefix "[" (lib.removeSuffix "]" host);
      groups = parseAddress address;
      port = number 65535 (elemAt parts 1);
      isIPv4 = length groups == 4;
    in
    if parts == null || groups == null || port == null || port == 0 then
      null
    else
      {
        inherit address host port;
        family = if isIPv4 then "IPv4" else "IPv6";
        wildcard = all (g: g == 0) groups;
        loopback = if isIPv4 then elemAt groups 0 == 127 else groups == ipv6 "::1";
      };

  # The family of a valid address or prefix.
  familyOf = prefix: if lib.hasInfix ":" prefix then "IPv6" else "IPv4";

  # Says what is wrong with s as an address or a prefix, or returns null if it is
  # valid. It accepts what the -allow flag accepts.
  prefixProblem =
    s:
    let
      parts = lib.splitString "/" s;
      address = parseAddress (elemAt parts 0);
      bits = bitsOf address;
      prefixLength = number (length bits) (elemAt parts 1);
    in
    if length parts > 2 || address == null || (length parts == 2 && prefixLength == null) then
      "is not an address or a prefix such as 10.100.0.0/24 or fda2::/16"
    else if length parts == 2 && !all (bit: bit == 0) (lib.drop prefixLength bits) then
      "has bits set after the prefix length: write the first address of the network, or an address without a length"
    else
      null;
}
