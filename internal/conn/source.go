package conn

import "net/netip"

// SourcePrefix returns the key under which limits per client count a connection from
// remote, an address with a port: the address itself, or its /64 for public IPv6
// addresses, of which one client has many. It returns the zero Prefix if remote is not
// an address with a port.
func SourcePrefix(remote string) netip.Prefix {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip := addr.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsPrivate() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}
