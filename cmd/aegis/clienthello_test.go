package main

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// unfinishedHello returns the first n bytes of a ClientHello that announces nearly as many
// as TLS allows (RFC 8446 section 4).
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

// recordedHello returns a ClientHello that can be sent again and again at no cost.
func recordedHello(t *testing.T) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		tls.Client(far, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}}).Handshake()
		far.Close()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(near, head); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(near, message); err != nil {
		t.Fatal(err)
	}
	return append(head, message...)
}

// helloInTwoSteps starts TLS handshakes on many connections. The server responds to first
// with a HelloRetryRequest, which takes little time. Then second, which takes more, arrives
// on all connections at once.
func helloInTwoSteps(addr string, first, second []byte) {
	var retried, all sync.WaitGroup
	for range 300 {
		retried.Add(1)
		all.Go(func() {
			c, err := dialTCP(addr)
			if err != nil {
				retried.Done()
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			c.Write(first)
			io.ReadFull(c, make([]byte, 50))
			retried.Done()
			retried.Wait()
			c.Write(second)
			io.ReadFull(c, make([]byte, 1000))
			c.(*net.TCPConn).SetLinger(0)
		})
	}
	all.Wait()
}

// withoutKeyShares returns hello, a record, with an empty list of key shares. The server
// then asks for another with one (RFC 8446 section 4.2.8).
func withoutKeyShares(hello []byte) []byte {
	const record, message, random, keyShare = 5, 4, 2 + 32, 51
	at := record + message + random
	at += 1 + int(hello[at])                                // session
	at += 2 + int(binary.BigEndian.Uint16(hello[at:]))      // cipher suites
	at += 1 + int(hello[at])                                // compression methods
	short, extensions := slices.Clone(hello[:at]), []byte{} // their length comes before them
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
