# Minimal declarations of the NixOS options that the module sets or reads, so that the
# evaluation tests need nothing but nixpkgs' lib.
{ lib, ... }:
let
  inherit (lib) mkOption types;

  # Units, whose settings merge attribute by attribute as in NixOS.
  units = mkOption {
    type = types.attrsOf (
      types.submodule {
        freeformType = types.anything;
        options = lib.genAttrs [ "serviceConfig" "socketConfig" ] (
          _:
          mkOption {
            type = types.attrsOf types.anything;
            default = { };
          }
        );
      }
    );
    default = { };
  };

  anything = mkOption {
    type = types.attrsOf types.anything;
    default = { };
  };

  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
  };

  exporter = port: {
    options = {
      enable = mkOption {
        type = types.bool;
        default = false;
      };
      port = mkOption {
        type = types.port;
        default = port;
      };
      openFirewall = mkOption {
        type = types.bool;
        default = false;
      };
      extraFlags = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
    };
  };
in
{
  options = {
    assertions = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
    };
    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    environment.etc = anything;
    environment.systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    networking = {
      hostName = mkOption {
        type = types.str;
        default = "nixos";
      };
      fqdnOrHostName = mkOption {
        type = types.str;
        default = "nixos.example.org";
      };
      firewall.allowedTCPPorts = ports;
      firewall.interfaces = mkOption {
        type = types.attrsOf (types.submodule { options.allowedTCPPorts = ports; });
        default = { };
      };
    };
    services.prometheus.exporters = lib.genAttrs (import ../../exporters.nix) (
      _:
      mkOption {
        type = types.submodule (exporter 9100);
        default = { };
      }
    );
    systemd.services = units;
    systemd.sockets = units;
    systemd.tmpfiles.settings = anything;
    users.users = anything;
    users.groups = anything;
  };
}
