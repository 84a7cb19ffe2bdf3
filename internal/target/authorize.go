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

// Authorize returns nil if the client that sent r may see the target, else an error that
// wraps ErrForbidden.
func (t *Target) Authorize(r *http.Request) error {
	if allows(t.Settings.Allow, r) {
		return nil
	}
	return fmt.Errorf("%w: the targets file does not allow %s to scrape this target (allow:)", ErrForbidden, describeClient(r))
}

// allows reports whether allow names the client that sent r. A nil allow names everyone.
func allows(allow *targetsfile.Allow, r *http.Request) bool {
	if allow == nil {
		return true
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil && containsAddr(allow.Addresses, from.Addr()) {
		return true
	}
	return slices.ContainsFunc(certificateNames(r), func(name string) bool {
		return slices.Contains(allow.Certificates, name)
	})
}

// describeClient names the client that sent r in the targets file's own terms.
func describeClient(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "a client without an address"
	}
	addr := plainAddr(from.Addr())
	if names := certificateNames(r); len(names) > 0 {
		return fmt.Sprintf("%v with a certificate for %q", addr, names)
	}
	return addr.String()
}

// certificateNames returns the names in the certificate of the client that sent r. A
// certificate that was not verified proves nothing, so it has none.
func certificateNames(r *http.Request) []string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	leaf := r.TLS.VerifiedChains[0][0]
	var names []string
	if leaf.Subject.CommonName != "" && !slices.Contains(leaf.DNSNames, leaf.Subject.CommonName) {
		names = append(names, leaf.Subject.CommonName)
	}
	return append(names, leaf.DNSNames...)
}

func containsAddr(prefixes []netip.Prefix, addr netip.Addr) bool {
	addr = plainAddr(addr)
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// plainAddr returns addr as people write it: an IPv4 client of a listener on [::] has the
// address ::ffff:a.b.c.d.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
