package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Over HTTP/2, a scraper can abandon scrapes as fast as it can name them. That
// harms neither a neighbour nor Aegis.
func TestHTTP2Resets(t *testing.T) {
	const connections, atLeast = 4, 1000
	p, addr, dir := startWithTLS(t)
	neighbour := httpsClient(t, dir, "")
	if got := fetchWith(t, neighbour, "https://"+addr+"/svc"); got != "200 x 1\n" {
		t.Fatal(got)
	}
	descriptors, resident := taken(t, p)

	stop := make(chan struct{})
	ended := make(chan int, connections)
	for range connections {
		go func() {
			sent := 0
			for !isClosed(stop) {
				c, err := dialHTTP2(addr) // Aegis hangs up on who goes too far.
				if err != nil {
					break
				}
				for err == nil && !isClosed(stop) {
					if err = c.request("h", "/sloth"); err == nil {
						err = c.WriteRSTStream(c.stream, http2.ErrCodeCancel)
						sent++
					}
				}
				c.conn.Close()
			}
			ended <- sent
		}()
	}
	took := slowest(t, func() bool { return fetchWith(t, neighbour, "https://"+addr+"/svc") == "200 x 1\n" })
	close(stop)
	total := 0
	for range connections {
		total += <-ended
	}
	if total < atLeast {
		t.Errorf("%d resets only: no test of them", total)
	}
	if took > patience() {
		t.Errorf("a neighbour's scrape took %v in the 99th of a hundred cases", took)
	}
	_, now := taken(t, p)
	if now > resident+room() {
		t.Errorf("%.0f MiB resident, before it were %.0f", now, resident)
	}
	t.Logf("%d resets; a neighbour's p99 %v; %.0f MiB resident, before it were %.0f", total, took, now, resident)
	eventually(t, func() error {
		if now, _ := taken(t, p); now > descriptors+20 {
			return fmt.Errorf("%d descriptors, before it were %d", now, descriptors)
		}
		return nil
	})
}

// Over HTTP/2, a scraper can ask for much on few connections and take none of it. Nor
// does that harm.
func TestHTTP2AnswersNobodyTakes(t *testing.T) {
	const connections, streams, pings = 100, 99, 8000
	for name, tt := range map[string]struct {
		path  string
		reads bool // the connection; it opens no window for an answer
	}{
		"answers at once":               {path: "/nobody", reads: true},
		"answers of a service":          {path: "/svc", reads: true},
		"answers for which many wait":   {path: "/metrics", reads: true},
		"a connection that is not read": {path: "/nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			p, addr, dir := startWithTLS(t)
			neighbour := httpsClient(t, dir, "")
			_, resident := taken(t, p)
			for i := range connections {
				c, err := dialHTTP2(addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
				if err != nil {
					t.Fatal(err)
				}
				defer c.conn.Close()
				if tt.reads {
					go io.Copy(io.Discard, c.conn)
				}
				for range pings {
					if tt.reads || c.WritePing(false, [8]byte{}) != nil {
						break
					}
				}
				for range streams {
					if c.request("h", tt.path) != nil {
						break
					}
				}
				if got := fetchWith(t, neighbour, "https://"+addr+"/other"); got != "200 x 1\n" {
					t.Errorf("beside %d connections, a neighbour got %s", i+1, got)
				}
			}
			_, now := taken(t, p)
			t.Logf("%.0f MiB resident, before it were %.0f", now, resident)
			if now > resident+1.5*room() {
				t.Errorf("%.0f MiB resident, before it were %.0f", now, resident)
			}
		})
	}
}

// Over HTTP/2 too, a connection of which nothing is read is ended.
func TestHTTP2ConnectionNobodyReads(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test waits for a deadline of Aegis")
	}
	t.Parallel()
	p, addr, _ := startWithTLS(t)
	descriptors, _ := taken(t, p)
	// As much may be sent as there is; more than the kernel holds.
	const much = 1<<31 - 1
	c, err := dialHTTP2(addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: much})
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	begin := time.Now()
	err = c.WriteWindowUpdate(0, much-1<<16)
	for range 8 {
		err = errors.Join(err, c.request("h", "/large"))
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if now, _ := taken(t, p); now > descriptors {
			return fmt.Errorf("%d descriptors, before the connection were %d", now, descriptors)
		}
		return nil
	})
	if took := time.Since(begin); took < limits.HTTP2StallTimeout {
		t.Errorf("it was ended after %v, and not because nothing was read; no test of that", took)
	}
}

// What HTTP/2 lets through and a request line of HTTP/1.1 could not carry never
// reaches a service.
func TestHTTP2RequestsOfMoreThanAWord(t *testing.T) {
	_, addr, _ := startWithTLS(t)
	for name, tt := range map[string]struct{ host, path string }{
		"a space in the query":     {"h", "/svc?a HTTP/1.1"},
		"a line end in the query":  {"h", "/svc?a\r\nX-Evil: 1"},
		"a second request":         {"h", "/svc?a HTTP/1.1\r\nHost: h\r\n\r\nGET /secret"},
		"a NUL in the query":       {"h", "/svc?\x00"},
		"a line end in the path":   {"h", "/svc\r\nX-Evil: 1"},
		"a space in the path":      {"h", "/svc HTTP/1.1"},
		"a path above the folder":  {"h", "/../svc"},
		"a fragment":               {"h", "/svc#/../x y"},
		"no slash before the name": {"h", "svc"},
		"a space in the host":      {"h evil", "/svc"},
		"a line end in the host":   {"h\r\nX-Evil: 1", "/svc"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := dialHTTP2(addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.conn.Close()
			if err := c.request(tt.host, tt.path); err != nil {
				t.Fatal(err)
			}
			if status := c.status(); status != "400" && status != "404" && status != "refused" {
				t.Errorf("status %s", status)
			}
		})
	}
}

// startWithTLS starts Aegis before a sample folder, with TLS and no question for
// certificates of scrapers.
func startWithTLS(t *testing.T) (p *program, addr, dir string) {
	t.Helper()
	dir = t.TempDir()
	newAuthority(t, dir, "trusted").issue(t, dir, "server")
	config := writeFile(t, dir, "web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
	p = start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", sampleFolder(t), "-web.config.file", config)
	return p, p.awaitOutput(t, `msg=serving address=(\S+)`), dir
}

// http2Client is a connection over which frames can be sent that no library sends.
type http2Client struct {
	*http2.Framer
	conn   *tls.Conn
	stream uint32 // of the last request
}

func dialHTTP2(addr string, settings ...http2.Setting) (*http2Client, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	c := &http2Client{Framer: http2.NewFramer(conn, bufio.NewReader(conn)), conn: conn}
	if _, err = io.WriteString(conn, http2.ClientPreface); err == nil {
		err = c.WriteSettings(settings...)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// request sends a GET of path from host, whatever these hold.
func (c *http2Client) request(host, path string) error {
	c.stream = max(1, c.stream+2)
	if c.stream%2 == 0 {
		c.stream++
	}
	var fields bytes.Buffer
	encoder := hpack.NewEncoder(&fields)
	for _, f := range [][2]string{{":method", http.MethodGet}, {":scheme", "https"}, {":authority", host}, {":path", path}} {
		encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return c.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: fields.Bytes(), EndStream: true, EndHeaders: true})
}

// status is that of the next answer, or refused where there is none.
func (c *http2Client) status() string {
	_, status := c.answer()
	return status
}

// answer is the status of the next answer, with its stream; refused where that was
// reset, or the connection is being ended.
func (c *http2Client) answer() (stream uint32, status string) {
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return 0, err.Error()
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.StreamID, frame.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return frame.Header().StreamID, "refused"
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
