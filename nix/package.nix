# As pkgs/by-name of nixpkgs has packages. There, src becomes a fetcher, and version and
# revision are written out.
{
  lib,
  buildGoModule,
  installShellFiles,
  nix-update-script ? null,
  versionCheckHook,
  # The commit that this is built from, for `aegis -version`.
  revision ? "unknown",
  tests ? { },
}:
buildGoModule (finalAttrs: {
  pname = "aegis";
  # The program defines the version.
  version = builtins.head (
    builtins.match ".*version *= \"([^\"]+)\".*" (builtins.readFile ../cmd/aegis/version.go)
  );

  # Only what the build reads, so that a change to the README rebuilds nothing.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../cmd
      ../go.mod
      ../go.sum
      ../internal
      ./completions
      ./man
      # Tests read these.
      ./alerts.json
      ./dashboard.json
      ./tests/eval/targets.json
    ];
  };

  # .ci/nix checks this hash against go.mod and prints the correct one.
  vendorHash = "sha256-4ETTNHS3PG+w4rw83SSWFkjLVIXWYmtIO3Rt99M3MbE=";

  # The program must be static: the unit's NoExecPaths=/ forbids running a loader.
  env.CGO_ENABLED = 0;
  ldflags = [
    "-s"
    "-w"
    "-X main.version=${finalAttrs.version}"
    "-X main.revision=${revision}"
  ];

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    installManPage nix/man/aegis.8 nix/man/aegis-targets.5
    installShellCompletion nix/completions/aegis.{bash,fish} --zsh nix/completions/_aegis
  '';

  doInstallCheck = true;
  nativeInstallCheckInputs = [ versionCheckHook ];
  versionCheckProgramArg = "-version";
  postInstallCheck = ''
    if readelf --program-headers "$out/bin/aegis" | grep INTERP; then
      echo "aegis is not static, but its systemd unit forbids running a loader" >&2
      exit 1
    fi
    "$out/bin/aegis" -version | grep --fixed-strings 'revision ${revision},'
  '';

  passthru = {
    inherit tests;
    updateScript = if nix-update-script == null then null else nix-update-script { };
  };

  meta = {
    description = "Lets a remote Prometheus scrape services that listen on Unix sockets";
    homepage = "https://tulpa.dev/cadey/aegis";
    license = lib.licenses.mit;
    mainProgram = "aegis";
    platforms = lib.platforms.linux;
    # Empty until somebody sends it to nixpkgs.
    maintainers = [ ];
  };
})
