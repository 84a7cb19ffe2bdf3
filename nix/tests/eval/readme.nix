# The table of options and the list of exporters in nix/README.md match the module. .ci/nix
# evaluates its blocks (blocks.nix).
{ evaluate, lib, ... }:
let
  readme = builtins.readFile ../../README.md;
  aegis = (evaluate [ ]).options.within.services.aegis;

  # Returns the first sentence of the description, on one line, in plain Markdown.
  summary =
    option:
    let
      text = lib.replaceStrings [ "\n" "{option}" ] [ " " "" ] option.description;
    in
    lib.head (lib.splitString ". " (lib.removeSuffix "." (lib.trim text)));
  default =
    option: option.defaultText.text or (lib.generators.toPretty { multiline = false; } option.default);
  row = name: "| `${name}` | `${default aegis.${name}}` | ${summary aegis.${name}} |\n";

  # In the order of use.
  names = [
    "enable"
    "hostport"
    "sockdir"
    "varlinkdir"
    "allowedScrapers"
    "firewallInterfaces"
    "openFirewall"
    "targets"
    "exporters"
    "forward"
    "webConfigFile"
    "logLevel"
    "extraFlags"
    "package"
  ];
  table = lib.concatMapStrings row names;

  exporters =
    let
      all = (import ../../exporter-facts.nix).acceptListener;
    in
    "${lib.concatStringsSep ", " (lib.init all)} and ${lib.last all}.";
in
{
  testReadmeTable = {
    expr =
      if lib.hasInfix table readme then
        "up to date"
      else
        "outdated. Replace the table of options in nix/README.md with:\n${table}";
    expected = "up to date";
  };

  testReadmeNamesTheExporters = {
    expr = lib.hasInfix exporters (lib.replaceStrings [ "\n" ] [ " " ] readme);
    expected = true;
  };

  testReadmeNamesEveryOption = {
    expr = lib.sort lib.lessThan names;
    expected = lib.attrNames aegis;
  };
}
