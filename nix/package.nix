{
  lib,
  buildGoModule,
  versionCheckHook,
  # The commit this is built from, for `aegis -version`.
  revision ? "unknown",
}:
buildGoModule (finalAttrs: {
  pname = "aegis";
  # Written once, in the program.
  version = builtins.head (
    builtins.match ".*version *= \"([^\"]+)\".*" (builtins.readFile ../cmd/aegis/version.go)
  );

  # What the build reads and nothing else: a word in the README rebuilds nothing.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../cmd
      ../go.mod
      ../go.sum
      ../internal
      ./dashboard.json # A test reads it.
    ];
  };

  # .ci/nix compares this with the module graph and prints the right one.
  vendorHash = "sha256-uCVn221ydRS57/tmc5ba3zKdgYXDFZLbh1VqE2iESDA=";

  # Static: under the unit's NoExecPaths=/ there is no loader to be run.
  env.CGO_ENABLED = 0;
  ldflags = [
    "-s"
    "-w"
    "-X main.version=${finalAttrs.version}"
    "-X main.revision=${revision}"
  ];

  doInstallCheck = true;
  nativeInstallCheckInputs = [ versionCheckHook ];
  versionCheckProgramArg = "-version";
  postInstallCheck = ''
    if readelf --program-headers "$out/bin/aegis" | grep INTERP; then
      echo "aegis is not static: its systemd unit lets no loader be run" >&2
      exit 1
    fi
    "$out/bin/aegis" -version | grep --fixed-strings 'revision ${revision},'
  '';

  meta = {
    description = "Lets a remote Prometheus scrape services that listen on Unix sockets";
    homepage = "https://tulpa.dev/cadey/aegis";
    license = lib.licenses.mit;
    mainProgram = "aegis";
    platforms = lib.platforms.linux;
  };
})
