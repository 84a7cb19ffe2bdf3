package main

import (
	"fmt"
	"maps"
	"slices"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// warning is about a configuration file that is valid and yet does not do what its author
// wants. Its subject is a "target" or a "certificate" (kind).
type warning struct{ kind, subject, message string }

// unverifiedCertificates warns about targets that name clients by their certificates although
// web, which may be nil, does not have those verified.
func unverifiedCertificates(targets targetsfile.File, web *auth.File) (warnings []warning) {
	if web != nil && web.VerifiesClientCerts() {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(targets.Targets)) {
		if allow := targets.Targets[name].Allow; allow != nil && len(allow.Certificates) > 0 {
			warnings = append(warnings, warning{"target", name, "allow: names certificates, but Aegis verifies none; set client_auth_type: RequireAndVerifyClientCert in -web.config.file"})
		}
	}
	return warnings
}

// expiredCertificate warns if the server's certificate has expired.
func expiredCertificate(web *auth.File) []warning {
	if web == nil || web.CertificateExpiredAt().IsZero() {
		return nil
	}
	return []warning{{"certificate", web.CertificatePath(), fmt.Sprintf("the server's certificate expired on %v, so scrapers that verify it cannot connect; renew it", web.CertificateExpiredAt())}}
}
