{
  description = "Aegis lets a Prometheus on another machine scrape services that listen on Unix sockets";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      package =
        pkgs:
        pkgs.callPackage ./nix/package.nix {
          revision = self.rev or self.dirtyRev or "unknown";
          tests = self.checks.${pkgs.stdenv.hostPlatform.system} or { };
        };
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
          aegis = package pkgs;
          default = packages.aegis;
        }
      );

      overlays.default = final: _: { aegis = package final; };

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
