package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Clients without a password that send much before their first request, to TLS or as a
// header, take little memory. Those that send more than a request needs are disconnected.
func TestHostileClientsBeforeTheirFirstRequest(t *testing.T) {
	const all, some = limits.MaxTLSConns - 24, limits.MaxTLSConns / 4 // The latter finish a TLS handshake.
	header := func(n int) []byte { return []byte("GET /svc HTTP/1.1\r\nX: " + strings.Repeat("a", n)) }
	for name, tt := range map[string]struct {
		connections  int
		dial         func(addr string) (net.Conn, error)
		sent         []byte
		disconnected bool
	}{
		"a ClientHello":    {all, dialTCP, unfinishedHello(limits.MaxPreRequestBytes - 64), false},
		"a larger one":     {all, dialTCP, unfinishedHello(2 * limits.MaxPreRequestBytes), true},
		"a header":         {some, dialTLS, header(limits.MaxRequestHead / 2), false},
		"too large header": {some, dialTLS, header(2 * limits.MaxPreRequestBytes), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := startWithRSAKey(t)
			_, before := s.processUsage(t)
			hostile := make([]net.Conn, tt.connections)
			var sent sync.WaitGroup
			for i := range hostile {
				c, err := tt.dial(s.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				hostile[i] = c
				c.SetWriteDeadline(time.Now().Add(30 * time.Second))
				sent.Go(func() { c.Write(tt.sent) }) // This fails if Aegis resets the connection first.
			}
			sent.Wait()
			checkNeighbour(t, s.dir, s.scrape)
			s.checkMemory(t, before, 1.5*allowedGrowth())
			if !tt.disconnected {
				return
			}
			for _, c := range hostile {
				c.SetReadDeadline(time.Now().Add(30 * time.Second))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection is still open")
				}
			}
		})
	}
}

// Clients that hold as many connections as there may be, without a request, do not keep a client
// with the password out. A refused request ends its connection, so those cannot hold any.
func TestHostileClientsThatHoldAllConnections(t *testing.T) {
	s := startWithRSAKey(t)
	var held []net.Conn
	for range limits.MaxTLSConns - 1 { // The scraper has one.
		c, err := dialTCP(s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	another := s.scraper.Transport.(*http.Transport).Clone()
	defer another.CloseIdleConnections()
	if status, body := getAs(&http.Client{Transport: another}, s.url(), "prometheus", rightPassword); status != http.StatusOK {
		t.Errorf("a client with the password got %d %s", status, body)
	}
	s.awaitOutput(t, "connection limit reached; closing idle connections that made no valid request")
	for i, wantOpen := range map[int]bool{0: false, len(held) - 1: true} {
		if open := isOpen(held[i]); open != wantOpen {
			t.Errorf("connection %d of %d: open is %v, want %v", i, len(held), open, wantOpen)
		}
	}
	held[1].Close() // There is no room for one more from the same address.
	var refused net.Conn
	eventually(t, func() (err error) {
		refused, err = dialTLS(s.addr)
		return err
	})
	defer refused.Close()
	if got := scrapeOn(refused, "/svc"); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
		t.Errorf("without a password: %s", got)
	}
	if isOpen(refused) {
		t.Error("the connection of a refused request is still open")
	}
}

// isOpen reports whether the other side of c keeps it open for half a second.
func isOpen(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, err := io.Copy(io.Discard, c)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Clients without a password that keep the processor busy do not keep a scraper with one
// waiting.
func TestFloodsWithoutAPassword(t *testing.T) {
	hello := recordedHello(t)
	first, second := withoutKeyShares(hello), slices.Clone(hello)
	second[2] = 3 // All records but the first have the version of TLS 1.2.
	for name, tt := range map[string]struct {
		connections int
		attack      func(addr string)
	}{
		"TLS handshakes": {100, func(addr string) {
			c, err := dialTCP(addr)
			if err != nil {
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			c.Write(hello)
			io.ReadFull(c, make([]byte, 1000))
			c.(*net.TCPConn).SetLinger(0)
		}},
		"TLS handshakes in two steps": {1, func(addr string) { helloInTwoSteps(addr, first, second) }},
		"refused requests": {4, func(addr string) {
			c, err := dialTLS(addr)
			if err != nil {
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			go io.Copy(io.Discard, c)
			c.Write(bytes.Repeat([]byte(get("/svc")), 1000))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startWithRSAKey(t)
			stop := flood(tt.connections, func(int, int) { tt.attack(s.addr) })
			defer stop()
			checkNeighbour(t, s.dir, s.scrape)
		})
	}
}

// guarded is an aegis with TLS and a password, and a scraper that has the password and an
// address of its own.
type guarded struct {
	*program
	addr, dir string
	scraper   *http.Client
}

// startWithRSAKey starts a guarded aegis, with a key that takes more processor time than
// most.
func startWithRSAKey(t *testing.T) *guarded {
	t.Helper()
	dir := sampleDirectory(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	newAuthority(t, dir, "trusted").issueFor(t, dir, "server", key, time.Now().Add(time.Hour))
	p, addr := startAegis(t, dir, "-web.config.file", writeFile(t, dir, "web.yml", passwordFile(t, bcrypt.MinCost)+serverTLS))
	s := &guarded{p, addr, dir, httpsClient(t, dir, "")}
	s.scraper.Transport.(*http.Transport).DialContext = dialerFrom(net.IPv4(127, 0, 0, 2)).DialContext
	if status, body := getAs(s.scraper, s.url(), "prometheus", rightPassword); status != http.StatusOK {
		t.Fatalf("the first scrape: %d %s", status, body)
	}
	return s
}

func (s *guarded) url() string { return fmt.Sprintf("https://%s/svc", s.addr) }

func (s *guarded) scrape() bool {
	status, _ := getAs(s.scraper, s.url(), "prometheus", rightPassword)
	return status == http.StatusOK
}

func dialTCP(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 30*time.Second) }

func dialTLS(addr string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	return tls.DialWithDialer(dialer, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
}
