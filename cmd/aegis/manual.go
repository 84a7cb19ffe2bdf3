package main

// manual is what -help prints.
const manual = `Aegis lets a remote Prometheus scrape services that listen on Unix sockets:
GET /NAME on one TCP address is GET /metrics on NAME.sock in a folder.

Usage:
  aegis [serve] [flags]   serve a folder of sockets (the default)
  aegis check [flags] [NAME ...]
                          scrape once, the named targets or all, and say what is
                          wrong
  aegis demo [flags]      sample services and a proxy before them, to try it
  aegis -version          version, revision and Go release
  aegis -help             this text

Flags of serve:
  -hostport ADDRESS:PORT  where to listen (default [::]:31337: every address,
                          IPv4 too)
  -sockdir FOLDER         where the sockets are (default ./run); it may be made
                          later
  -allow PREFIX,...       the addresses and prefixes that may connect, such as
                          10.100.0.0/24,fda2::/16 (default: all)
  -config.file FILE       the targets file: what goes for single targets, such as
                          another path than /metrics (default: none)
  -web.config.file FILE   TLS, client certificates and passwords, as for every
                          exporter of Prometheus (default: none, plain HTTP)
  -log.level LEVEL        debug, info, warn or error (default info); debug logs
                          each scrape

Flags of check:
  -sockdir FOLDER         where the sockets are (default ./run)
  -config.file FILE       the targets file, which is checked too (default: none)
  -web.config.file FILE   checked, but not used: no scrape goes over TLS here
                          (default: none)
  -timeout DURATION       the scrape_timeout of your Prometheus (default 10s)
  -lint                   say what could be better about the metrics themselves
  -output FORMAT          table or json (default table)

Flags of demo:
  -hostport ADDRESS:PORT  where to listen (default 127.0.0.1:31337)

Paths:
  GET /NAME       the metrics of NAME.sock, its query string passed on. NAME is
                  1 to 250 letters, digits and . _ - @ : +, beginning with a
                  letter or digit; "metrics" is reserved
  GET /           a page for people
  GET /metrics    Aegis' own metrics
  GET /-/sd       every socket as a target, for Prometheus' http_sd_configs
  GET /-/healthy  200 while Aegis runs, as does /-/ready

Signals:
  SIGTERM, SIGINT  finish the scrapes under way, then stop; a second one stops
                   at once
  SIGHUP           reload: read the targets file and look at the folder anew,
                   drop connections to sockets that are gone

Under systemd, listeners of a socket unit go before -hostport.

Exit codes: 0 after a clean stop or if all targets are fine, 1 on failure, 2 on
wrong usage.
`
