package socketdir

import "errors"

// Why a name cannot be connected to. Every error of this package is one of
// these, wrapped in a sentence that says what to do.
var (
	ErrNotFound    = errors.New("no such socket")
	ErrNotSocket   = errors.New("not a socket that can be served")
	ErrRefused     = errors.New("connection refused")
	ErrDenied      = errors.New("permission denied")
	ErrNoDirectory = errors.New("no such folder")
	// ErrBusy is a full backlog, or a lack of descriptors, memory or patience
	// here.
	ErrBusy = errors.New("busy")
	// ErrTimeout is a file system that does not answer before the context ends.
	ErrTimeout = errors.New("no end in time of looking at the folder")
)
