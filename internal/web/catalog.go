package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Catalog is all targets: what stands in the folder, and what the targets file
// says of it or beside it.
type Catalog struct {
	folder socketdir.Dir
	file   atomic.Pointer[targetsfile.File]
}

// NewCatalog returns the catalog of a folder and a targets file.
func NewCatalog(folder socketdir.Dir, file targetsfile.File) *Catalog {
	c := &Catalog{folder: folder}
	c.Use(file)
	return c
}

// Use makes file the targets file.
func (c *Catalog) Use(file targetsfile.File) { c.file.Store(&file) }

// File returns the targets file.
func (c *Catalog) File() targetsfile.File { return *c.file.Load() }

// Target returns what the targets file says of name.
func (c *Catalog) Target(name string) targetsfile.Target { return c.File().Target(name) }

var errDisabled = fmt.Errorf("%w: it is switched off in the targets file (enabled: false)", socketdir.ErrNotFound)

// Find finds the socket of name, of which the targets file says t. The errors are
// Lookup's.
func (c *Catalog) Find(ctx context.Context, name string, t targetsfile.Target) (socketdir.Socket, error) {
	switch {
	case name == targetsfile.ReservedName:
		return socketdir.Socket{}, errReserved
	case t.Disabled:
		return socketdir.Socket{}, errDisabled
	case t.Socket != "":
		return c.folder.LookupPath(ctx, t.Socket)
	}
	return c.folder.Lookup(ctx, name)
}

// List returns the folder's entries and the targets of which file says that they
// have their socket elsewhere, sorted by name. Err of an entry says why it is not served. The
// errors are the folder's List's.
func (c *Catalog) List(ctx context.Context, file targetsfile.File) ([]socketdir.Entry, error) {
	entries, err := c.folder.List(ctx)
	if err != nil || len(file.Targets) == 0 {
		return reserved(entries), err
	}
	for i, e := range entries {
		switch t := file.Target(e.Name); {
		case e.Err != nil:
		case t.Disabled:
			entries[i].Err = errDisabled
		case t.Socket != "":
			entries[i].Err = fmt.Errorf("%w: the targets file has the socket of %s elsewhere, at %s", socketdir.ErrNotSocket, e.Name, t.Socket)
		}
	}
	for name, t := range file.Targets {
		if t.Socket != "" && !t.Disabled {
			entries = append(entries, socketdir.Entry{File: t.Socket, Name: name})
		}
	}
	slices.SortFunc(entries, func(a, b socketdir.Entry) int { return strings.Compare(a.Name, b.Name) })
	return reserved(entries), nil
}

// errReserved says why a socket with a reserved name is not served.
var errReserved = fmt.Errorf("%w: its name is that of a page of Aegis' own; have its service call it otherwise", socketdir.ErrNotSocket)

func reserved(entries []socketdir.Entry) []socketdir.Entry {
	for i, e := range entries {
		if e.Err == nil && e.Name == targetsfile.ReservedName {
			entries[i].Err = errReserved
		}
	}
	return entries
}

// errForbidden is the scraper's failing, not the service's.
var errForbidden = errors.New("forbidden")

// permit returns nil if who sent r may see t.
func permit(t targetsfile.Target, r *http.Request) error {
	if t.Allow == nil {
		return nil
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil && within(t.Allow.Addresses, from.Addr()) {
		return nil
	}
	// A certificate that was not verified proves nothing.
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		for _, name := range certificateNames(r) {
			if slices.Contains(t.Allow.Certificates, name) {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: the targets file does not allow this target to %s (allow:)", errForbidden, scraperName(r))
}

// scraperName says who sent r, as the targets file would name it.
func scraperName(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	switch {
	case err != nil:
		return "a scraper without an address"
	case r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
		return fmt.Sprintf("%v with the certificate of %q", plainAddr(from.Addr()), certificateNames(r))
	}
	return plainAddr(from.Addr()).String()
}

// certificateNames returns whose the verified certificate of r's sender is, in the words
// that the targets file may have.
func certificateNames(r *http.Request) []string {
	leaf := r.TLS.VerifiedChains[0][0]
	var names []string
	if leaf.Subject.CommonName != "" && !slices.Contains(leaf.DNSNames, leaf.Subject.CommonName) {
		names = append(names, leaf.Subject.CommonName)
	}
	return append(names, leaf.DNSNames...)
}

// plainAddr is addr as people write it: an IPv4 client of a listener on [::]
// shows as ::ffff:a.b.c.d.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func within(prefixes []netip.Prefix, addr netip.Addr) bool {
	addr = plainAddr(addr)
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
