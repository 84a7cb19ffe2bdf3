package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"

	"tulpa.dev/cadey/aegis/internal/systemd"
)

// listeners returns those of the service manager or, where it hands over none,
// one on -hostport.
func listeners(s settings, log *slog.Logger) ([]net.Listener, error) {
	handed, err := systemd.Listeners()
	if err != nil {
		return nil, err
	}
	if len(handed) == 0 {
		l, err := listen(s.hostport)
		return []net.Listener{l}, err
	}
	for _, l := range handed {
		log.Info("the service manager hands over a listener, which goes before -hostport", "address", l.Addr().String())
	}
	if s.hostportGiven && !contains(handed, s.hostport) {
		log.Warn("-hostport is not used: the service manager's socket unit says where to listen (ListenStream=)", "hostport", s.hostport)
	}
	return handed, nil
}

func contains(handed []net.Listener, hostport string) bool {
	want, err := net.ResolveTCPAddr("tcp", hostport)
	if err != nil {
		return false
	}
	for _, l := range handed {
		got, ok := l.Addr().(*net.TCPAddr)
		anywhere := ok && len(want.IP) == 0 && got.IP.IsUnspecified()
		if ok && got.Port == want.Port && (anywhere || got.IP.Equal(want.IP)) {
			return true
		}
	}
	return false
}

// listen opens the address that -hostport gives.
func listen(hostport string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(hostport)
	if err != nil {
		advice := ""
		switch {
		case strings.Contains(hostport, "://"):
			advice = "; what stands before :// does not belong to it"
		case strings.Count(hostport, ":") > 1:
			advice = "; an IPv6 address takes brackets"
		}
		return nil, fmt.Errorf("-hostport %q is no ADDRESS:PORT such as [::]:31337 or 127.0.0.1:31337%s: %w", hostport, advice, errUsage)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fmt.Errorf("-hostport %q has no port from 0 to 65535: %w", hostport, errUsage)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // Its connections have not what the listener has.
	l, err := config.Listen(context.Background(), "tcp", hostport)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", hostport, listenError(err))
	}
	return l, nil
}

// listenError says what to do about err.
func listenError(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("the address is in use, perhaps by another aegis (ss -ltnp shows it)")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("no interface of this machine has that address (ip addr shows which there are)")
	case errors.Is(err, syscall.EACCES):
		return errors.New("permission denied; ports under 1024 are for root, take a higher one")
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return errors.New("no such kind of address here: without IPv6, give an IPv4 address such as -hostport 0.0.0.0:31337; in a service without a network, the socket unit is to hand over a listener (systemctl restart aegis.socket)")
	case errors.As(err, &dns):
		return fmt.Errorf("%q is no address of this machine, nor a name of one", dns.Name)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
