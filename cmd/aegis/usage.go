package main

// usage is what -help prints. nix/man/aegis.8 has the rest.
const usage = `Aegis lets a remote Prometheus scrape services that listen on Unix sockets:
GET /NAME on one TCP address becomes GET /metrics on NAME.sock in a directory.

Usage:
  aegis [serve] [flags]           serve a directory of sockets (the default)
  aegis check [flags] [NAME ...]  scrape targets once and say what is wrong
  aegis demo [flags]              run sample services with Aegis in front
  aegis -version                  print the version
  aegis -help                     print this text

Flags of serve:
  -hostport ADDRESS:PORT  where to listen (default [::]:31337)
  -sockdir DIRECTORY      where the sockets are (default ./run)
  -varlinkdir DIRECTORY   where services report their metrics over Varlink
  -allow PREFIX,...       who may connect, such as 10.100.0.0/24,fda2::/16
                          (default: everybody)
  -config.file FILE       the targets file: settings for individual targets
  -web.config.file FILE   the web file: TLS, client certificates and passwords
  -web.external-url URL   where scrapers reach Aegis behind a reverse proxy
  -log.level LEVEL        debug, info, warn or error (default info)

Flags of check:
  -sockdir DIRECTORY      where the sockets are (default ./run)
  -varlinkdir DIRECTORY   where services report their metrics over Varlink
  -config.file FILE       the targets file
  -web.config.file FILE   the web file
  -syntax-only            check only these two files
  -timeout DURATION       the scrape_timeout of your Prometheus (default 10s)
  -lint                   suggest improvements to the metrics
  -output FORMAT          table or json (default table)

Flags of demo:
  -hostport ADDRESS:PORT  where to listen (default 127.0.0.1:31337)

For paths, signals, exit codes, results and metrics, see man aegis, and for the
targets file, man aegis-targets.
`
