# The files of Aegis: the targets file, which the module writes, and the web file. A change
# to a file in /etc reloads Aegis, and the program itself checks the file when the system is
# built, so that no file of NixOS stops Aegis after a switch.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  cfg = config.within.services.aegis;

  # JSON is YAML too. Each key has a line, so that the line in an error message says
  # something.
  lines =
    indent: value:
    if builtins.isAttrs value && value != { } then
      let
        entry = key: entry: "${indent}  ${builtins.toJSON key}: ${lines "${indent}  " entry}";
      in
      "{\n${lib.concatStringsSep ",\n" (lib.mapAttrsToList entry value)}\n${indent}}"
    else
      builtins.toJSON value;

  # Leaves out options that are not set.
  settingsOf =
    target:
    lib.filterAttrs (_: value: value != null && value != { }) (
      target // { enabled = if target.enabled then null else false; }
    );

  isInStore = path: lib.hasPrefix builtins.storeDir (toString path);
  webFile =
    if isInStore cfg.webConfigFile then
      "aegis/web.yml"
    else
      lib.removePrefix "/etc/" (toString cfg.webConfigFile);

  # The files in /etc that NixOS writes, by the flag with which Aegis reads them.
  files = lib.filterAttrs (_: name: config.environment.etc ? ${name}) {
    "-config.file" = "aegis/targets.yml";
    "-web.config.file" = webFile;
  };
  sources = lib.mapAttrs (_: name: "${config.environment.etc.${name}.source}") files;

  # The build can read only what is in the store, and execute only programs for its own kind
  # of machine.
  checks = lib.concatMapStrings (
    flag:
    lib.optionalString ((pkgs.stdenv.buildPlatform.canExecute or (_: false)) pkgs.stdenv.hostPlatform) ''
      ${lib.getExe cfg.package} check -syntax-only ${flag} ${sources.${flag}}
    ''
  ) (lib.attrNames (lib.filterAttrs (_: isInStore) sources));
in
{
  options.within.services.aegis = {
    targets = mkOption {
      type = types.attrsOf (types.submodule ./target.nix);
      default = { };
      example = lib.literalExpression ''
        {
          billing.path = "/internal/metrics";
          rpm-ostree = {
            socket = "/run/rpm-ostreed.promsock";
            protocol = "raw";
          };
        }
      '';
      description = ''
        Settings for individual targets. A target that works without settings does
        not need an entry. A change reloads Aegis and does not restart it.
      '';
    };

    webConfigFile = mkOption {
      type = types.nullOr (types.either types.path types.str);
      # Copies a path of Nix to the store.
      apply = lib.mapNullable (file: "${file}");
      default = null;
      example = "/etc/aegis/web.yml";
      description = ''
        A file that turns on TLS, client certificates or passwords, in the
        [format](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md)
        of every Prometheus exporter.

        A string is the path of a file on the host; nothing of it is copied. The user
        `aegis` must be able to read it and the files that it names. A path of Nix, such
        as `./web.yml` or `pkgs.writeText "web.yml" "…"`, is copied to the Nix store,
        which everybody on the host can read, and linked as `/etc/aegis/web.yml`: it may
        name keys, but it should not contain hashes of weak passwords. Such a file, and
        one of {option}`environment.etc`, is checked when the system is built, and a change
        reloads Aegis. A reload refuses a file that asks for less than before, such as no
        passwords: run `systemctl restart aegis` then.

        The service cannot see /home, nor /var unless an option names a path there. To use
        a key from there, let systemd pass it to the service:

        ```nix
        systemd.services.aegis.serviceConfig.LoadCredential = [
          "cert.pem:/var/lib/acme/example.org/cert.pem"
          "key.pem:/var/lib/acme/example.org/key.pem"
        ];
        security.acme.certs."example.org".postRun = "systemctl try-restart aegis";
        ```

        In the file, the paths are then `/run/credentials/aegis.service/cert.pem` and
        `key.pem`; the file itself can be a credential too (`"%d/web.yml"`). systemd
        copies credentials only when the service starts, so that a reload keeps the old
        certificate; hence the restart, which loses no scrape. With systemd 260 or later
        and `serviceConfig.RefreshOnReload = "credentials"`, `systemctl reload aegis` is
        enough.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.etc = {
      "aegis/targets.yml" = lib.mkIf (cfg.targets != { }) {
        text = lines "" { targets = lib.mapAttrs (_: settingsOf) cfg.targets; } + "\n";
      };
      "aegis/web.yml" = lib.mkIf (isInStore cfg.webConfigFile) { source = cfg.webConfigFile; };
    };

    # The unit names the check, so that a build of the system runs it.
    systemd.services.aegis.reloadTriggers =
      lib.attrValues sources
      ++ lib.optional (checks != "") (pkgs.runCommand "aegis-check" { } (checks + "touch $out"));
  };
}
