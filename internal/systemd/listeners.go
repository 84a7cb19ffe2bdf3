package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Listeners returns the listeners that the service manager handed over, in its
// order; none without socket activation. It is to be called once. The error
// names a descriptor that is no stream listener, such as that of a unit with
// ListenDatagram=.
func Listeners() ([]net.Listener, error) {
	var listeners []net.Listener
	for _, f := range activation.Files(true) {
		l, err := listener(f)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, fmt.Errorf("taking over descriptor %d (%s) from the service manager: %w", f.Fd(), f.Name(), err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listener(f *os.File) (net.Listener, error) {
	// net.FileListener does not look, and would fail at the first Accept.
	fd := int(f.Fd())
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, fmt.Errorf("it is no socket: %w", err)
	} else if kind != unix.SOCK_STREAM {
		return nil, errors.New("it is no stream socket; use ListenStream= in the socket unit")
	}
	if accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || accepts == 0 {
		return nil, errors.New("it does not listen; use Accept=no in the socket unit")
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	f.Close()
	return l, nil
}
