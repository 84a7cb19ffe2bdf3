package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"tulpa.dev/cadey/aegis/internal/systemd"
)

// openListeners returns the listeners that the service manager passes or, if it passes none, one
// on -hostport.
func openListeners(s settings, log *slog.Logger) ([]net.Listener, error) {
	passed, err := systemd.Listeners()
	if err != nil {
		return nil, err
	}
	if len(passed) == 0 {
		l, err := listen(s.hostport)
		return []net.Listener{l}, err
	}
	for _, l := range passed {
		log.Info("using a listener of the service manager", "address", l.Addr().String())
	}
	if s.hostportGiven {
		log.Warn("ignoring -hostport: the socket unit says where to listen (ListenStream=)", "hostport", s.hostport)
	}
	return passed, nil
}

// listen returns a listener on hostport, the value of -hostport.
func listen(hostport string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		advice := ""
		switch {
		case strings.Contains(hostport, "://"):
			advice = "; leave out the scheme"
		case strings.Count(hostport, ":") > 1:
			advice = "; write an IPv6 address in brackets"
		}
		return nil, fmt.Errorf("-hostport %q is not ADDRESS:PORT, such as [::]:31337 or 127.0.0.1:31337%s: %w",
			hostport, advice, errUsage)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fmt.Errorf("-hostport %q has no port from 0 to 65535: %w", hostport, errUsage)
	}
	network := "tcp"
	if host == "0.0.0.0" {
		network = "tcp4" // Go would listen on IPv6 too.
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // Its connections do not inherit the listener's socket options.
	l, err := config.Listen(context.Background(), network, hostport)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", hostport, listenError(err))
	}
	return l, nil
}

// parseExternalURL parses the value of -web.external-url.
func parseExternalURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery+u.Fragment != "" {
		return nil, errors.New("use the URL where Prometheus reaches Aegis, such as https://host.example.org/aegis")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

// listenError returns err, with what to do about it.
func listenError(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("the address is in use, perhaps by another aegis (ss -ltnp shows it)")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("no interface of this machine has that address (ip addr lists them)")
	case errors.Is(err, syscall.EACCES):
		return errors.New("permission denied; ports below 1024 are for root, use a higher one")
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return errors.New("this kind of address is not available here: without IPv6, use an IPv4 address " +
			"such as -hostport 0.0.0.0:31337; in a service without a network, the socket unit must pass " +
			"a listener (systemctl restart aegis.socket)")
	case errors.As(err, &dns):
		return fmt.Errorf("%q is neither an address of this machine nor a name for one", dns.Name)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
