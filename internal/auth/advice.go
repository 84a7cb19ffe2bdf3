package auth

import (
	"strings"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// advice returns what to do about reason, an error of the library or the YAML parser, as
// a clause to append. It returns an empty string if there is nothing to add.
func advice(reason string) string {
	for _, known := range []struct{ part, advice string }{
		{"bcrypt", "basic_auth_users needs hashes as htpasswd -nBC 10 NAME prints them"},
		{"permission denied", "Aegis reads it as " + socketdir.CurrentUser()},
		{"field targets not found", "this is a targets file, use it with -config.file"},
		{"invalid ClientAuth", "client_auth_type must be " + requireAndVerify + ", " + verifyIfGiven + " or NoClientCert"},
		{"any PEM data in key input", "put the key itself under key, or the name of its file under key_file"},
		{"any PEM data in certificate", "put the certificate itself under cert, or the name of its file under cert_file"},
		{"private key does not match", "cert_file and key_file must belong to the same certificate"},
		{"without a Client Auth Policy", "set client_auth_type: " + requireAndVerify},
		{"unknown TLS version", "it must be TLS10, TLS11, TLS12 or TLS13"},
		{"map[string]config.Secret", `write each user under basic_auth_users as NAME: "HASH"`},
		{"in type web.Config", "use tls_server_config, http_server_config, basic_auth_users or rate_limit"},
		{"cannot start any token", "indent with spaces, not tabs, and quote what begins with @, % or `"},
	} {
		if strings.Contains(reason, known.part) {
			return "; " + known.advice
		}
	}
	return ""
}
