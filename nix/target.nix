# The settings of one target. The options have the names of the keys in the targets
# file. target-checks.nix finds mistakes in the values.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  unset =
    type: rest:
    mkOption (
      rest
      // {
        type = types.nullOr type;
        default = null;
      }
    );
in
{
  options = {
    path = unset types.str {
      example = "/internal/metrics";
      description = "The path to request instead of `/metrics`.";
    };
    socket = unset types.str {
      example = "/run/rpm-ostreed.promsock";
      description = "The path of the socket, if it is not in {option}`within.services.aegis.sockdir`.";
    };
    protocol =
      unset
        (types.enum [
          "http"
          "raw"
        ])
        {
          description = ''
            The protocol that the service speaks. A `raw` service does not use HTTP: it
            writes its metrics to every client that connects and closes the connection.
          '';
        };
    labels = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        team = "printers";
      };
      description = "Labels to add in service discovery.";
    };
    timeout = unset types.str {
      example = "5s";
      description = ''
        The maximum duration of a scrape, from 100ms to 5m. It can only shorten the
        timeout of the scraper.
      '';
    };
    enabled = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the target is served.";
    };
    allow = unset (types.submodule {
      options = {
        addresses = mkOption {
          type = types.listOf types.str;
          default = [ ];
          example = [ "10.100.0.1" ];
          description = "Addresses and prefixes of the scrapers that may see and scrape the target.";
        };
        certificates = mkOption {
          type = types.listOf types.str;
          default = [ ];
          example = [ "prometheus.example.org" ];
          description = "Common names or DNS names of the client certificates that may see and scrape the target.";
        };
      };
    }) { description = "Who may see and scrape the target; if not set, everybody may."; };
  };
}
