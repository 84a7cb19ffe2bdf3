package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Who has no password, and makes no request, announces much and sends some of it: to
// TLS, and to HTTP/2. That takes no memory to speak of.
func TestAnnouncedByStrangers(t *testing.T) {
	const many, some = limits.MaxTLSConns - 24, limits.MaxTLSConns / 4 // The latter begin TLS.
	for name, tt := range map[string]struct {
		connections int
		dial        func(addr string) (net.Conn, error)
		send        []byte
		over        bool // it ends the connection
	}{
		"a ClientHello":            {many, dialTCP, unfinishedHello(limits.MaxPreRequestBytes - 64), false},
		"more of it than may be":   {many, dialTCP, unfinishedHello(2 * limits.MaxPreRequestBytes), true},
		"a frame":                  {some, dialFrames, unfinishedFrame(limits.MaxPreRequestBytes / 2), true},
		"small frames":             {some, dialFrames, bytes.Repeat(emptyFrame, limits.MaxPreRequestBytes/2/len(emptyFrame)), false},
		"more of them than may be": {some, dialFrames, bytes.Repeat(emptyFrame, 2*limits.MaxPreRequestBytes/len(emptyFrame)), true},
	} {
		t.Run(name, func(t *testing.T) {
			p, addr, _, scrape := startForStrangers(t)
			_, before := taken(t, p)
			var strangers []net.Conn
			for range tt.connections {
				c, err := tt.dial(addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetWriteDeadline(time.Now().Add(5 * time.Second))
				c.Write(tt.send) // It may be ended before all is sent.
				strangers = append(strangers, c)
			}
			most := before
			for range 20 { // in which what was sent is read
				if !scrape() {
					t.Fatal("a scraper with the password got nothing")
				}
				_, now := taken(t, p)
				most = max(most, now)
			}
			t.Logf("%.0f MiB resident, before it were %.0f", most, before)
			if most > before+1.5*room() {
				t.Errorf("%.0f MiB resident, before it were %.0f", most, before)
			}
			for _, c := range strangers {
				if !tt.over {
					break
				}
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection goes on")
				}
			}
		})
	}
}

// Who holds as many connections as may be, without a request or with one that was
// refused, keeps nobody out who has the password.
func TestConnectionsOfStrangers(t *testing.T) {
	for name, dial := range map[string]func(addr string) (net.Conn, error){
		"that ask for nothing": dialTCP,
		"that were refused": func(addr string) (net.Conn, error) {
			c, err := dialHTTP2(addr)
			if err != nil {
				return nil, err
			}
			err = c.request("h", "/svc")
			if status := c.status(); status != "401" {
				err = errors.Join(err, errors.New(status))
			}
			return c.conn, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, addr, scraper, _ := startForStrangers(t)
			var held []net.Conn
			for range limits.MaxTLSConns - 1 { // The scraper has one.
				c, err := dial(addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				held = append(held, c)
			}
			another := scraper.Transport.(*http.Transport).Clone()
			defer another.CloseIdleConnections()
			if status, _ := getWithPassword(&http.Client{Transport: another}, "https://"+addr+"/svc", "open sesame"); status != http.StatusOK {
				t.Errorf("a scraper with the password got %d", status)
			}
			p.awaitOutput(t, "(there are as many connections as may be, and of those that were let in with no request some are ended)")
			for i, open := range map[int]bool{0: false, len(held) - 1: true} {
				held[i].SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				_, err := io.Copy(io.Discard, held[i])
				if goesOn := errors.Is(err, os.ErrDeadlineExceeded); goesOn != open {
					t.Errorf("that connection %d of %d goes on is %v, want %v", i, len(held), goesOn, open)
				}
			}
		})
	}
}

// Strangers that keep the processor at work, with beginnings of TLS and with frames that
// are no requests, have a scraper that is known wait for little.
func TestFloodsOfStrangers(t *testing.T) {
	hello := recordedHello(t)
	first, second := withoutKeyShares(hello), slices.Clone(hello)
	second[2] = 3 // The record is of TLS 1.2 then, as all but the first are.
	ping := append([]byte("\x00\x00\x08\x06\x00\x00\x00\x00\x00"), make([]byte, 8)...)
	for name, tt := range map[string]struct {
		connections int
		once        func(addr string)
	}{
		"beginnings of TLS": {100, func(addr string) {
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
		"beginnings of TLS, in two": {1, func(addr string) { beginInTwo(addr, first, second) }},
		"unknown frames":            {32, func(addr string) { sendFrames(addr, emptyFrame) }},
		"pings":                     {32, func(addr string) { sendFrames(addr, ping) }},
		"priorities": {16, func(addr string) {
			sendFrames(addr, []byte("\x00\x00\x05\x02\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr, _, scrape := startForStrangers(t)
			stop := make(chan struct{})
			var flood sync.WaitGroup
			for range tt.connections {
				flood.Go(func() {
					for !isClosed(stop) {
						tt.once(addr)
					}
				})
			}
			took := slowest(t, scrape)
			close(stop)
			flood.Wait()
			t.Logf("p99 of a scraper that is known: %v", took)
			if took > patience() {
				t.Errorf("a scraper that is known waited %v in the 99th of a hundred cases", took)
			}
		})
	}
}

// startForStrangers starts Aegis with TLS, a key as dear as most, and a password. The
// scraper who has it is at another address than strangers.
func startForStrangers(t *testing.T) (p *program, addr string, scraper *http.Client, scrape func() bool) {
	t.Helper()
	dir := sampleFolder(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	newAuthority(t, dir, "trusted").issueOf(t, dir, "server", time.Now().Add(time.Hour), key)
	config := writeFile(t, dir, "web.yml", passwordLine(t, bcrypt.MinCost)+"tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
	p = start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", config)
	addr = p.awaitOutput(t, `msg=serving address=(\S+)`)
	scraper = httpsClient(t, dir, "")
	scraper.Transport.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext
	scrape = func() bool {
		status, _ := getWithPassword(scraper, "https://"+addr+"/svc", "open sesame")
		return status == http.StatusOK
	}
	if !scrape() {
		t.Fatal("no scrape at all")
	}
	return p, addr, scraper, scrape
}

func dialTCP(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 10*time.Second) }

// dialFrames is a connection over HTTP/2.
func dialFrames(addr string) (net.Conn, error) {
	c, err := dialHTTP2(addr)
	if err != nil {
		return nil, err
	}
	return c.conn, nil
}

// emptyFrame is of a type that there is not (RFC 9113 section 4.1).
var emptyFrame = []byte("\x00\x00\x00\xfa\x00\x00\x00\x00\x00")

// sendFrames sends the same frame on a connection of its own until that is ended.
func sendFrames(addr string, frame []byte) {
	c, err := dialHTTP2(addr)
	if err != nil {
		return
	}
	defer c.conn.Close()
	go io.Copy(io.Discard, c.conn)
	many := bytes.Repeat(frame, 1000)
	for err == nil {
		_, err = c.conn.Write(many)
	}
}

// unfinishedHello is n bytes of a ClientHello of nearly as many as TLS takes (RFC 8446
// section 4).
func unfinishedHello(n int) (records []byte) {
	message := append([]byte{1, 0, 0xff, 0}, make([]byte, n)...)
	for len(message) > 0 {
		part := message[:min(len(message), 16<<10)]
		message = message[len(part):]
		records = append(records, 22, 3, 1)
		records = binary.BigEndian.AppendUint16(records, uint16(len(part)))
		records = append(records, part...)
	}
	return records[:min(len(records), n)]
}

// unfinishedFrame is a frame of an unknown type and a megabyte, of which n bytes come
// (RFC 9113 section 4.1).
func unfinishedFrame(n int) []byte {
	return append([]byte{0x10, 0, 0, 0xfa, 0, 0, 0, 0, 0}, make([]byte, n)...)
}

// recordedHello is a ClientHello as it can be sent again and again, at no cost.
func recordedHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		tls.Client(there, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}}).Handshake()
		there.Close()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(here, head); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(here, message); err != nil {
		t.Fatal(err)
	}
	return append(head, message...)
}

// beginInTwo begins TLS on many connections, each in two steps: first is such that it is
// asked for again, which costs little, and then all that costs much comes at once.
func beginInTwo(addr string, first, second []byte) {
	var begun, all sync.WaitGroup
	for range 300 {
		begun.Add(1)
		all.Go(func() {
			c, err := dialTCP(addr)
			if err != nil {
				begun.Done()
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			c.Write(first)
			io.ReadFull(c, make([]byte, 50))
			begun.Done()
			begun.Wait()
			c.Write(second)
			io.ReadFull(c, make([]byte, 1000))
			c.(*net.TCPConn).SetLinger(0)
		})
	}
	all.Wait()
}

// withoutKeyShares is hello, a record, with an empty list of key shares (RFC 8446 section
// 4.2.8): it is to be sent again, with one.
func withoutKeyShares(hello []byte) []byte {
	const record, message, random, keyShare = 5, 4, 2 + 32, 51
	at := record + message + random
	at += 1 + int(hello[at])                                // the session
	at += 2 + int(binary.BigEndian.Uint16(hello[at:]))      // cipher suites
	at += 1 + int(hello[at])                                // compression
	short, extensions := slices.Clone(hello[:at]), []byte{} // which follow their length
	for rest := hello[at+2:]; len(rest) > 0; {
		n := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		if binary.BigEndian.Uint16(rest) == keyShare {
			extensions = append(extensions, 0, keyShare, 0, 2, 0, 0)
		} else {
			extensions = append(extensions, rest[:n]...)
		}
		rest = rest[n:]
	}
	short = binary.BigEndian.AppendUint16(short, uint16(len(extensions)))
	short = append(short, extensions...)
	binary.BigEndian.PutUint16(short[3:], uint16(len(short)-record))
	binary.BigEndian.PutUint16(short[record+2:], uint16(len(short)-record-message))
	return short
}
