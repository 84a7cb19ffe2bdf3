# What it takes to work on Aegis: Go with its tools, and a Prometheus to try it.
{
  mkShell,
  aegis,
  go-tools,
  gopls,
  govulncheck,
  prometheus,
}:
mkShell {
  inputsFrom = [ aegis ];
  packages = [
    go-tools
    gopls
    govulncheck
    prometheus
    prometheus.cli
  ];
}
