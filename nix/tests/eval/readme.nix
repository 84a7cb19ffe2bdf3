# The README's table of options matches the options of the module.
{ evaluate, lib, ... }:
let
  readme = builtins.readFile ../../../README.md;
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
  row = name: option: "| `${name}` | `${default option}` | ${summary option} |\n";

  anExporter = "node";
  ofExporters =
    option:
    option // { description = lib.replaceStrings [ anExporter ] [ "NAME" ] option.description; };

  exporters =
    let
      all = map (name: "`${name}`") (import ../../exporters.nix);
    in
    "`exporters.NAME.enable`: ${lib.concatStringsSep ", " (lib.init all)} and ${lib.last all}.";

  names = [
    "enable"
    "hostport"
    "sockdir"
    "allowedScrapers"
    "firewallInterfaces"
    "openFirewall"
    "targets"
    "webConfigFile"
    "package"
  ];
  table =
    lib.concatMapStrings (name: row name aegis.${name}) names
    + row "exporters.NAME.enable" (ofExporters aegis.exporters.${anExporter}.enable);
in
{
  testReadmeTable = {
    expr =
      if lib.hasInfix table readme then
        "up to date"
      else
        "outdated. Replace the table of options with:\n${table}";
    expected = "up to date";
  };

  testReadmeNamesEveryOption = {
    expr = lib.sort lib.lessThan (names ++ [ "exporters" ]);
    expected = lib.attrNames aegis;
  };

  testReadmeNamesTheExporters = {
    expr =
      if lib.hasInfix exporters (lib.replaceStrings [ "\n" ] [ " " ] readme) then
        "up to date"
      else
        "outdated. Replace the list of exporters with: ${exporters}";
    expected = "up to date";
  };
}
