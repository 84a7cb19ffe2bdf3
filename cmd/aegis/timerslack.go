package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// timerSlack is how many nanoseconds late the kernel may run a timer. While the program works now and then, Go's
// monitor thread polls every 20 µs, which costs a tenth of what scrapes do. With slack it polls every millisecond:
// soon enough to interrupt a goroutine that has run for 10 ms.
const timerSlack = 1_000_000

// setTimerSlack sets the timer slack of all threads (prctl(2)), unless the service unit has (TimerSlackNSec=). Threads
// inherit it at their creation, and the monitor thread exists already, so this starts the program once more.
func setTimerSlack() {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err == nil && slack < timerSlack && unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0) == nil {
		syscall.Exec("/proc/self/exe", os.Args, os.Environ()) // If that fails, the program only costs more.
	}
}
