package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// warning is about a configuration that is valid and yet does not do what its author wants.
// Its subject is a "target", a "certificate", a "flag" or the "sockdir" (kind).
type warning struct{ kind, subject, message string }

// fileWarnings returns the warnings about both files; web may be nil.
func fileWarnings(targets targetsfile.File, web *auth.File) (warnings []warning) {
	if web != nil && web.HasPlaintextPasswords() {
		warnings = append(warnings, warning{"flag", "-web.config.file", "passwords without TLS: everybody who sees the traffic can read them; add tls_server_config, unless a tunnel or a proxy on this host protects it"})
	}
	if web != nil && !web.CertificateExpiredAt().IsZero() {
		warnings = append(warnings, warning{"certificate", web.CertificatePath(), fmt.Sprintf("the server's certificate expired on %v, so scrapers that verify it cannot connect; renew it", web.CertificateExpiredAt())})
	}
	if web != nil && web.VerifiesClientCerts() {
		return warnings
	}
	for _, name := range slices.Sorted(maps.Keys(targets.Targets)) {
		if allow := targets.Targets[name].Allow; allow != nil && len(allow.Certificates) > 0 {
			warnings = append(warnings, warning{"target", name, "allow: names certificates, but Aegis verifies none; set client_auth_type: RequireAndVerifyClientCert in -web.config.file"})
		}
	}
	return warnings
}

// notSetgid warns about a directory that services share through its group, unless it gives
// that group to their sockets.
func notSetgid(sockdir string) []warning {
	info, err := os.Stat(sockdir)
	if err != nil || info.Mode()&os.ModeSetgid != 0 || info.Mode().Perm()&0o020 == 0 {
		return nil
	}
	return []warning{{"sockdir", sockdir, "the directory is not setgid, so a socket in it belongs to the group of its service, and Aegis may be denied; run chmod g+s"}}
}

// noVarlink warns about a directory of Varlink sockets that is not there: its targets are missing.
func noVarlink(varlinkdir string) []warning {
	if _, err := os.Stat(varlinkdir); varlinkdir == "" || err == nil {
		return nil
	}
	return []warning{{"flag", "-varlinkdir", "there is no such directory (yet), so it has no targets; systemd has one from version 260 on"}}
}
