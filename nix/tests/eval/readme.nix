# The README's table of options says what the options say.
{ evaluate, lib, ... }:
let
  readme = builtins.readFile ../../../README.md;
  aegis = (evaluate [ ]).options.within.services.aegis;

  # The first sentence, on one line, in Markdown that is not NixOS' own.
  about =
    option:
    let
      text = lib.replaceStrings [ "\n" "{option}" ] [ " " "" ] option.description;
    in
    lib.head (lib.splitString ". " (lib.removeSuffix "." (lib.trim text)));
  default =
    option: option.defaultText.text or (lib.generators.toPretty { multiline = false; } option.default);
  row = name: option: "| `${name}` | `${default option}` | ${about option} |\n";

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
        "as the options say"
      else
        "not as the options say. The table of options has to be:\n${table}";
    expected = "as the options say";
  };

  testReadmeNamesEveryOption = {
    expr = lib.sort lib.lessThan (names ++ [ "exporters" ]);
    expected = lib.attrNames aegis;
  };

  testReadmeNamesTheExporters = {
    expr =
      if lib.hasInfix exporters (lib.replaceStrings [ "\n" ] [ " " ] readme) then
        "as they are"
      else
        "not as they are. It has to say: ${exporters}";
    expected = "as they are";
  };
}
