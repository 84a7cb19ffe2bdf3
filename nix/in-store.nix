# Reports whether a file, given as a path or a string, is or will be in the Nix store.
file: builtins.isPath file || builtins.match "${builtins.storeDir}/.*" (toString file) != null
