package main

// usage is what -help prints.
const usage = `Aegis lets a remote Prometheus scrape services that listen on Unix sockets:
GET /NAME on one TCP address becomes GET /metrics on NAME.sock in a directory.

Usage:
  aegis [serve] [flags]   serve a directory of sockets (the default)
  aegis check [flags] [NAME ...]
                          scrape the named targets, or all, once and say what is
                          wrong
  aegis demo [flags]      run sample services with Aegis in front, to try it
  aegis -version          version, revision and Go release
  aegis -help             this text

Flags of serve:
  -hostport ADDRESS:PORT  where to listen (default [::]:31337: every address,
                          IPv4 too)
  -sockdir DIRECTORY      where the sockets are (default ./run); it need not
                          exist yet
  -varlinkdir DIRECTORY   where services tell their metrics over Varlink, such as
                          /run/systemd/report of systemd 260 and later; each
                          socket there is scraped by its file name (default: none)
  -allow PREFIX,...       the addresses and prefixes that may connect, such as
                          10.100.0.0/24,fda2::/16 (default: all)
  -config.file FILE       the targets file: settings for individual targets, such
                          as another path than /metrics (default: none)
  -web.config.file FILE   TLS, client certificates and passwords, in the format
                          of every Prometheus exporter (default: none, plain HTTP)
  -web.external-url URL   where Prometheus reaches Aegis behind a reverse proxy,
                          such as https://host.example.org/aegis; /-/sd lists it
  -log.level LEVEL        debug, info, warn or error (default info); debug logs
                          each scrape

Flags of check:
  -sockdir DIRECTORY      where the sockets are (default ./run)
  -varlinkdir DIRECTORY   where services tell their metrics over Varlink (default:
                          none)
  -config.file FILE       the targets file, which is checked as well (default: none)
  -web.config.file FILE   checked, but not used: check makes no TLS connections
                          (default: none)
  -syntax-only            check only these two files, and none that they name
  -timeout DURATION       the scrape_timeout of your Prometheus (default 10s)
  -lint                   suggest improvements to the metrics themselves
  -output FORMAT          table or json (default table)

Flags of demo:
  -hostport ADDRESS:PORT  where to listen (default 127.0.0.1:31337)

Paths:
  GET /NAME       the metrics of NAME.sock; the query string is passed on. NAME is
                  1 to 250 letters, digits and . _ - @ : +, beginning with a
                  letter or digit; "metrics" is reserved
  GET /           a page for people
  GET /metrics    Aegis' own metrics
  GET /-/sd       every target, for Prometheus' http_sd_configs
  GET /-/healthy  200 while Aegis runs, as does /-/ready

Signals:
  SIGTERM, SIGINT  finish the scrapes in flight, then stop; a second one stops
                   at once
  SIGHUP           reload: read the targets file, the web file and the directory
                   again, and close connections to sockets that are gone

Under systemd, the listeners of a socket unit override -hostport.

Exit codes: 0 after a clean stop or if all targets are fine, 1 on failure, 2 on
wrong usage.
`
