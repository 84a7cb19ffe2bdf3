package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Listeners returns the listeners that the service manager passed to this process, in its order;
// none without socket activation. Call it once. The error names a descriptor that is not a stream
// listener, such as that of a socket unit with ListenDatagram=.
func Listeners() (listeners []net.Listener, err error) {
	for _, f := range activation.Files(true) {
		fd := f.Fd()
		l, err := newListener(f)
		if err != nil {
			return nil, fmt.Errorf("using the service manager's descriptor %d (%s): %w", fd, f.Name(), err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func newListener(f *os.File) (net.Listener, error) {
	defer f.Close()
	// net.FileListener does not check these, so the first Accept would fail.
	kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return nil, errors.New("it is not a stream socket; use ListenStream= in the socket unit")
	}
	listening, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || listening == 0 {
		return nil, errors.New("it is not listening; use Accept=no in the socket unit")
	}
	return net.FileListener(f)
}
