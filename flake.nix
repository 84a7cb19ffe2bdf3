{
  description = "Aegis lets a Prometheus on another machine scrape services that listen on Unix sockets";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      revision = self.rev or self.dirtyRev or "unknown";
      eachSystem =
        outputs:
        lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: outputs nixpkgs.legacyPackages.${system} self.packages.${system});
    in
    {
      packages = eachSystem (
        pkgs: packages: {
          aegis = pkgs.callPackage ./nix/package.nix { inherit revision; };
          default = packages.aegis;
        }
      );

      overlays.default = final: _: {
        aegis = final.callPackage ./nix/package.nix { inherit revision; };
      };

      nixosModules = {
        aegis = import ./nix/flake-module.nix self;
        default = self.nixosModules.aegis;
      };

      lib = import ./nix/prometheus.nix { inherit lib; };

      checks = eachSystem (
        pkgs: _:
        import ./nix/checks.nix {
          inherit pkgs;
          aegis = self;
        }
      );

      devShells = eachSystem (
        pkgs: packages: {
          default = pkgs.callPackage ./nix/devshell.nix { inherit (packages) aegis; };
        }
      );

      formatter = eachSystem (pkgs: _: pkgs.nixfmt-tree);
    };
}
