# Which strings are accepted as an address with a port, and as a prefix.
{ lib, ... }:
let
  inherit (import ../../address.nix { inherit lib; }) parseHostport prefixProblem;
in
{
  testValidHostports = {
    expr = map parseHostport [
      "[::1]:31337"
      "[::]:1"
      "0.0.0.0:65535"
      "127.255.0.1:80"
      "[FDA2::1:2]:31337"
      "[1:2:3:4:5:6:7:8]:31337"
    ];
    expected =
      lib.zipListsWith
        (
          hostport: more:
          {
            address = lib.removeSuffix "]" (lib.removePrefix "[" hostport.host);
            family = "IPv6";
            wildcard = false;
            loopback = false;
          }
          // hostport
          // more
        )
        [
          {
            host = "[::1]";
            port = 31337;
          }
          {
            host = "[::]";
            port = 1;
          }
          {
            host = "0.0.0.0";
            port = 65535;
          }
          {
            host = "127.255.0.1";
            port = 80;
          }
          {
            host = "[FDA2::1:2]";
            port = 31337;
          }
          {
            host = "[1:2:3:4:5:6:7:8]";
            port = 31337;
          }
        ]
        [
          { loopback = true; }
          { wildcard = true; }
          {
            family = "IPv4";
            wildcard = true;
          }
          {
            family = "IPv4";
            loopback = true;
          }
          { }
          { }
        ];
  };

  testInvalidHostports = {
    expr = lib.filter (s: parseHostport s != null) [
      ""
      "31337"
      ":31337"
      "::1:31337"
      "[::1]"
      "[::1]:"
      "[::1]:0"
      "[::1]:65536"
      "[::1]:031337"
      "[::1]:99999999999999999999"
      "[::1]:31337 "
      "[::1:31337"
      "[1::2::3]:31337"
      "[:::]:31337"
      "[:1]:31337"
      "[1:2:3:4:5:6:7]:31337"
      "[1:2:3:4:5:6:7::8]:31337"
      "[1:2:3:4:5:6:7:8:9]:31337"
      "[12345::]:31337"
      "[fe80::1%wg0]:31337"
      "[127.0.0.1]:31337"
      "127.0.0.1"
      "127.0.0:31337"
      "127.0.0.256:31337"
      "127.0.0.01:31337"
      "127.0.0.0.1:31337"
      "127.0.0.:31337"
      "localhost:31337"
      "host.example.org:31337"
      "/run/aegis.sock"
    ];
    expected = [ ];
  };

  testValidPrefixes = {
    expr = lib.filter (s: prefixProblem s != null) [
      "10.100.0.1"
      "10.100.0.1/32"
      "10.100.0.0/24"
      "10.64.0.0/10"
      "0.0.0.0/0"
      "::/0"
      "::1"
      "fda2::/16"
      "2001:db8::8000/113"
      "fda2::1/128"
    ];
    expected = [ ];
  };

  testInvalidPrefixes = {
    expr = lib.filter (s: !lib.hasPrefix "is not an address" (toString (prefixProblem s))) [
      ""
      "any"
      "localhost"
      "10.100.0.0/33"
      "10.100.0.0/"
      "10.100.0.0/-1"
      "10.100.0.0/08"
      "10.100.0/24"
      "fda2::/129"
      "fda2::/16/16"
      "[fda2::1]"
      "fe80::1%wg0"
      "10.100.0.1,10.100.0.2"
      " 10.100.0.1"
    ];
    expected = [ ];
  };

  testPrefixesWithHostBits = {
    expr = lib.filter (s: !lib.hasPrefix "has bits set" (toString (prefixProblem s))) [
      "10.100.0.1/24"
      "10.100.0.1/31"
      "128.0.0.0/0"
      "10.96.0.0/10"
      "fda2::1/16"
      "fda2::8000/112"
      "::1/0"
    ];
    expected = [ ];
  };
}
