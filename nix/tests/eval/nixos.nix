# Minimal declarations of the NixOS options that the module sets or reads, so that the
# evaluation tests need nothing but nixpkgs' lib.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;

  # A setting of a unit. Definitions that are lists add up.
  setting = lib.mkOptionType {
    name = "setting";
    merge =
      loc: definitions:
      let
        values = lib.getValues definitions;
      in
      if lib.any lib.isList values then
        lib.concatMap lib.toList values
      else
        lib.mergeEqualOption loc definitions;
  };

  # Units, whose settings merge attribute by attribute as in NixOS.
  units = mkOption {
    type = types.attrsOf (
      types.submodule {
        freeformType = types.anything;
        options = lib.genAttrs [ "serviceConfig" "socketConfig" ] (
          _:
          mkOption {
            type = types.attrsOf setting;
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

  # As NixOS declares its exporters, with those that the tests use. process and the ones
  # after it cannot accept a listener.
  exporter = port: rest: {
    options = {
      enable = mkOption {
        type = types.bool;
        default = false;
      };
      port = mkOption {
        type = types.port;
        default = port;
      };
      listenAddress = mkOption {
        type = types.str;
        default = "0.0.0.0";
      };
      openFirewall = mkOption {
        type = types.bool;
        default = false;
      };
      extraFlags = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
    }
    // rest;
  };
  exporters =
    lib.genAttrs (import ../../exporter-facts.nix).acceptListener (_: exporter 9100 { })
    // {
      postgres = exporter 9187 {
        telemetryPath = mkOption {
          type = types.str;
          default = "/metrics";
        };
      };
      process = exporter 9256 { };
      blackbox = exporter 9115 { };
      dnssec = exporter 9204 {
        listenAddress = mkOption {
          type = types.nullOr types.str;
          default = null;
        };
      };
      fail2ban = exporter 9191 {
        host = mkOption {
          type = types.str;
          default = "127.0.0.1";
        };
      };
      influxdb = exporter 9122 { };
      nut = exporter 9199 { };
      pihole = exporter 9617 { };
      xray = exporter 9550 {
        metricsPath = mkOption {
          type = types.str;
          default = "/scrape";
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
    environment.etc = mkOption {
      type = types.attrsOf (
        types.submodule (
          { config, ... }:
          {
            options.text = mkOption {
              type = types.nullOr types.lines;
              default = null;
            };
            options.source = mkOption {
              type = types.path;
              default = pkgs.writeTextFile {
                name = "etc";
                inherit (config) text;
              };
            };
          }
        )
      );
      default = { };
    };
    environment.systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    networking = {
      enableIPv6 = mkOption {
        type = types.bool;
        default = true;
      };
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
    services.prometheus.exporters = mkOption {
      type = types.submodule {
        options =
          lib.mapAttrs (
            _: module:
            mkOption {
              type = types.submodule module;
              default = { };
            }
          ) exporters;
      };
      default = { };
    };
    systemd.package = mkOption {
      type = types.package;
      default = pkgs.systemd;
    };
    systemd.services = units;
    systemd.sockets = units;
    systemd.tmpfiles.settings = anything;
    users.users = anything;
    users.groups = anything;
  };
}
