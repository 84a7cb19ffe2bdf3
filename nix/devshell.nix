# The development shell: Go with its tools, and a Prometheus to try Aegis with.
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
