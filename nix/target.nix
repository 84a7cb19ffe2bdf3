# The settings of one target. The options have the names of the keys in the targets
# file. target-problems.nix finds mistakes in the values.
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
    params = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        format = "prometheus";
      };
      description = "Query parameters, which Prometheus gets from discovery.";
    };
    host = unset types.str {
      example = "app.example.org";
      description = "The `Host` header to send instead of the scraper's, for services that check it.";
    };
    content_type =
      unset
        (types.enum [
          "text/plain; version=0.0.4"
          "text/plain; version=1.0.0"
          "application/openmetrics-text; version=0.0.1"
          "application/openmetrics-text; version=1.0.0"
        ])
        {
          description = ''
            The type of the metrics, if the service sends metrics with a wrong
            `Content-Type`.
          '';
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
          "varlink"
        ])
        {
          description = ''
            The protocol that the service speaks. A `raw` service does not use HTTP: it
            writes its metrics to every client that connects and closes the connection. A
            `varlink` service has the interface `io.systemd.Metrics`.
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
        The maximum duration of a scrape, from 100ms to 5m: numbers with a unit, such as
        `1.5s` or `1m30s`. It can only shorten the timeout of the scraper.
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
