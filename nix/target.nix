# What can be said of a single target: what the targets file has, in the same
# words.
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
    path = unset (types.strMatching "/[^?# ]*") {
      example = "/internal/metrics";
      description = "What to ask for instead of `/metrics`.";
    };
    socket = unset (types.strMatching "/.*[^/]") {
      example = "/run/rpm-ostreed.promsock";
      description = "Where the socket is, if not in {option}`within.services.aegis.sockdir`.";
    };
    protocol =
      unset
        (types.enum [
          "http"
          "raw"
        ])
        {
          description = ''
            `raw` for a socket that writes its metrics to whoever connects, and closes,
            without HTTP.
          '';
        };
    labels = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        team = "printers";
      };
      description = "Labels that discovery adds.";
    };
    timeout = unset types.str {
      example = "5s";
      description = "How long a scrape may take, if that is less than the scraper waits.";
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
          description = "Addresses and prefixes of scrapers that may see the target.";
        };
        certificates = mkOption {
          type = types.listOf types.str;
          default = [ ];
          example = [ "prometheus.example.org" ];
          description = "Common names or DNS names of client certificates that may.";
        };
      };
    }) { description = "Who may see and scrape the target; not set, everyone."; };
  };
}
