package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // Parallel tests wait for other processes most of the time.
	testscript.Main(m, map[string]func(){"aegis": main, "sample-services": serveSamples})
}

// TestScripts runs the command lines in testdata/script. These commands are not
// testscript's own:
//
//	freeport VAR        put the number of a free TCP port into $VAR
//	fetch STATUS URL    GET URL until there is a response, want STATUS, print the body
//	until PATTERN URL   GET URL until the body matches PATTERN
//	hangup              send SIGHUP to the program that was started last
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"freeport": freeport, "fetch": fetch, "until": until, "hangup": hangup},
	})
}

func freeport(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv(args[0], port)
}

func fetch(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get(args[1])
		if err != nil {
			if time.Now().After(end) {
				ts.Fatalf("%v", err)
			}
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		fmt.Fprint(ts.Stdout(), string(body))
		if status := fmt.Sprint(resp.StatusCode); status != args[0] {
			ts.Fatalf("GET %s: %s, want %s\n%s", args[1], status, args[0], body)
		}
		return
	}
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var body []byte
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get(args[1])
		ts.Check(err)
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		if pattern.Match(body) {
			return
		}
	}
	ts.Fatalf("GET %s did not match %q, but was\n%s", args[1], args[0], body)
}

func hangup(ts *testscript.TestScript, _ bool, _ []string) {
	started := ts.BackgroundCmds()
	ts.Check(started[len(started)-1].Process.Signal(syscall.SIGHUP))
}
