# The text of the targets file: JSON, which is YAML too, with a line for each key, so
# that the line in an error message says something. Options that are not set are left
# out.
{ lib }:
targets:
let
  lines =
    indent: value:
    if builtins.isAttrs value && value != { } then
      let
        entry = key: entry: "${indent}  ${builtins.toJSON key}: ${lines "${indent}  " entry}";
      in
      "{\n${lib.concatStringsSep ",\n" (lib.mapAttrsToList entry value)}\n${indent}}"
    else
      builtins.toJSON value;

  given =
    target:
    lib.filterAttrs (_: value: value != null && value != { }) (
      target // { enabled = if target.enabled then null else false; }
    );
in
lines "" { targets = lib.mapAttrs (_: given) targets; } + "\n"
