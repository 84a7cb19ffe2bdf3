# What the evaluation tests share: the module, evaluated with the options of NixOS in
# nixos.nix instead of NixOS.
{ lib }:
let
  package = {
    type = "derivation";
    name = "aegis-0";
    outPath = "/usr/local";
    meta.mainProgram = "aegis";
  };

  # The parts of pkgs that module.nix and the VM tests use.
  pkgs =
    lib.genAttrs [ "iproute2" "openssl" "python3" "systemd" "wireguard-tools" ] (
      name:
      package
      // {
        inherit name;
        outPath = "/packages/${name}";
        meta.mainProgram = name;
      }
    )
    // {
      callPackage = _: _: package;
      runCommand = name: _: text: pkgs.writeTextFile { inherit name text; };
      writeText = name: text: pkgs.writeTextFile { inherit name text; };
      stdenv.hostPlatform.system = "x86_64-linux";
      stdenv.buildPlatform.canExecute = _: true;
      # A change of the text changes the path.
      writeTextFile =
        { name, ... }@file:
        package
        // file
        // {
          outPath = "/nix/store/${builtins.hashString "sha256" file.text}-${name}";
        };
    };

  evaluate =
    modules:
    lib.evalModules {
      modules = [
        ./nixos.nix
        ../../module.nix
      ]
      ++ modules;
      specialArgs = { inherit pkgs; };
    };

  # Returns the configuration for settings of Aegis and further settings of NixOS.
  with' =
    settings: nixos:
    (evaluate [
      nixos
      { within.services.aegis = settings; }
    ]).config;
  enabled = settings: with' ({ enable = true; } // settings) { };

  failing = config: map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
in
{
  inherit
    lib
    package
    enabled
    with'
    failing
    evaluate
    pkgs
    ;
}
