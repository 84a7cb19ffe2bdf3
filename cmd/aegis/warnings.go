package main

import (
	"fmt"
	"maps"
	"slices"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// warning is about a configuration file that is valid and yet does not do what its author
// wants. Its subject is a "target", a "certificate" or a "flag" (kind).
type warning struct{ kind, subject, message string }

// fileWarnings returns the warnings about both files; web may be nil.
func fileWarnings(targets targetsfile.File, web *auth.File) (warnings []warning) {
	if web != nil && web.HasPlaintextPasswords() {
		warnings = append(warnings, warning{"flag", "-web.config.file", "passwords without TLS: whoever sees the traffic can read them; add tls_server_config, unless a tunnel or a proxy on this host protects it"})
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
