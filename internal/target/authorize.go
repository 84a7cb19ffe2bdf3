package target

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// ErrForbidden is the client's failure, not the service's.
var ErrForbidden = errors.New("forbidden")

// Authorize returns nil if the client that sent r may see the target, else an error that wraps ErrForbidden.
func (t *Target) Authorize(r *http.Request) error {
	if allows(t.Settings.Allow, r) {
		return nil
	}
	client := "a client without an address"
	addr, names := clientOf(r)
	if addr.IsValid() {
		client = addr.String()
	}
	if len(names) > 0 {
		client += fmt.Sprintf(" with a certificate for %q", names)
	}
	return fmt.Errorf("%w: the targets file does not allow %s to scrape this target (allow:)", ErrForbidden, client)
}

// allows reports whether allow names the client that sent r. A nil allow names everyone.
func allows(allow *targetsfile.Allow, r *http.Request) bool {
	if allow == nil {
		return true
	}
	addr, names := clientOf(r)
	return slices.ContainsFunc(allow.Addresses, func(p netip.Prefix) bool { return p.Contains(addr) }) ||
		slices.ContainsFunc(names, func(name string) bool { return slices.Contains(allow.Certificates, name) })
}

// clientOf returns the address of the client that sent r, not valid if it has none, and the names in its
// certificate. A certificate that was not verified proves nothing, so it has none.
func clientOf(r *http.Request) (addr netip.Addr, names []string) {
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		// An IPv4 client of a listener on [::] has the address ::ffff:a.b.c.d.
		addr = from.Addr().Unmap().WithZone("")
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return addr, nil
	}
	leaf := r.TLS.VerifiedChains[0][0]
	if leaf.Subject.CommonName != "" && !slices.Contains(leaf.DNSNames, leaf.Subject.CommonName) {
		names = append(names, leaf.Subject.CommonName)
	}
	return addr, append(names, leaf.DNSNames...)
}
