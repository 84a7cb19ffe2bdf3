package scrape

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

const varlinkDescriptions = `{"parameters":{"name":"svc.Total","description":"Back\\slash\nand line","type":"counter"},"continues":true}` + "\x00" +
	`{"parameters":{"name":"svc.State","description":"A state","type":"string"},"continues":true}` + "\x00" +
	`{"parameters":{"name":"svc.Level","description":"A level","type":"gauge"}}` + "\x00"

// varlinkList returns the replies of List with these parameters.
func varlinkList(parameters ...string) string {
	var replies strings.Builder
	for i, p := range parameters {
		fmt.Fprintf(&replies, `{"parameters":%s,"continues":%v}`+"\x00", p, i < len(parameters)-1)
	}
	return replies.String()
}

// startVarlink starts a service that calls talk with the name of each method that is called.
func startVarlink(t testing.TB, talk func(c net.Conn, method string)) socketdir.Socket {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					call, err := r.ReadString(0)
					if err != nil {
						return
					}
					method, ok := strings.CutSuffix(strings.TrimPrefix(call, `{"method":"io.systemd.Metrics.`), `","parameters":{},"more":true}`+"\x00")
					if !ok {
						t.Errorf("called with %q", call)
					}
					talk(c, method)
				}
			}()
		}
	}()
	socket, err := socketdir.New(dir).Socket("svc")
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// replies returns a service that replies to List with list, and describes three metrics.
func replies(list string) func(net.Conn, string) {
	return func(c net.Conn, method string) {
		if method == "Describe" {
			io.WriteString(c, varlinkDescriptions)
			return
		}
		io.WriteString(c, list)
	}
}

func varlinkRequest(t testing.TB, timeout time.Duration) Request {
	req := newRequest(t, timeout)
	req.Protocol = Varlink
	return req
}

func TestVarlink(t *testing.T) {
	for name, tt := range map[string]struct{ list, want string }{
		"grouped": {
			varlinkList(`{"name":"svc.Total","object":"b","value":1}`, `{"name":"svc.Level","value":-2.5e-1}`, `{"name":"svc.Total","object":"a","value":2}`),
			"# HELP svc_Level A level\n# TYPE svc_Level gauge\nsvc_Level -0.25\n" +
				"# HELP svc_Total Back\\\\slash?and line\n# TYPE svc_Total counter\nsvc_Total{object=\"a\"} 2\nsvc_Total{object=\"b\"} 1\n",
		},
		"text":          {varlinkList(`{"name":"svc.State","object":"x","value":"a\"\\b","fields":{"event":"é"}}`), "# HELP svc_State_info A state\n# TYPE svc_State_info gauge\n" + `svc_State_info{event="é",object="x",value="a\"\\b"} 1` + "\n"},
		"undescribed":   {varlinkList(`{"name":"svc.A.B-c","value":3}`), "# TYPE svc_A_B_c untyped\nsvc_A_B_c 3\n"},
		"labels":        {varlinkList(`{"name":"svc.x","object":null,"value":1,"fields":{"a-b":1,"object":"o","__name__":"y","":null,"é":true,"le":[1]}}`), "# TYPE svc_x untyped\n" + `svc_x{field__="true",field___name__="y",field_a_b="1",field_object="o",le="[1]"} 1` + "\n"},
		"value taken":   {varlinkList(`{"name":"svc.x","value":"v","fields":{"value":"w","field_value":"z"}}`), "# TYPE svc_x_info gauge\n" + `svc_x_info{field_value="z",value="v"} 1` + "\n"},
		"large numbers": {varlinkList(`{"name":"svc.x","value":18446744073709551615}`, `{"name":"svc.y","value":18446744073709549568}`, `{"name":"svc.z","value":1e999}`), "# TYPE svc_y untyped\nsvc_y 1.844674407370955e+19\n"},
		"left out": {
			varlinkList(`{"name":"svc.a","value":{"a":1}}`, `{"name":"svc.b","value":[1]}`, `{"name":"svc.c","value":true}`, `{"name":"svc.d"}`, `{"name":"svc.e","value":null}`,
				`{"name":"svc.f","value":"a\nb"}`, `{"name":"svc.g","value":"`+strings.Repeat("a", 257)+`"}`, `{"name":"svc.h","object":"\u001b[2J","value":1}`, `{"name":"svc.i","value":1,"fields":{"`+strings.Repeat("a", 257)+`":1}}`,
				`{"name":"svc.ä","value":1}`, `{"name":"svc","value":1}`, `{"name":"other.x","value":1}`, `{"name":"svc.`+strings.Repeat("a", 257)+`","value":1}`, `{"name":"svc.last","value":"`+strings.Repeat("a", 256)+`"}`),
			"# TYPE svc_last_info gauge\nsvc_last_info{value=\"" + strings.Repeat("a", 256) + "\"} 1\n",
		},
		"the same labels twice": {varlinkList(`{"name":"svc.x","value":1,"fields":{"a":"1","b":"2"}}`, `{"name":"svc.x","value":2,"fields":{"b":"2","a":"1"}}`), "# TYPE svc_x untyped\nsvc_x{a=\"1\",b=\"2\"} 1\n"},
		"a key twice":           {varlinkList(`{"name":"other.x","name":"svc.x","value":2,"value":1,"fields":{"a":"1","a":"2"}}`), "# TYPE svc_x untyped\nsvc_x{a=\"2\"} 1\n"},
		"half a surrogate":      {varlinkList(`{"name":"svc.x","object":"\ud800","value":1}`), "# TYPE svc_x untyped\nsvc_x{object=\"\ufffd\"} 1\n"},
		"no metrics":            {`{"error":"io.systemd.Metrics.NoSuchMetric"}` + "\x00", ""},
		"only objects":          {varlinkList(`{"name":"svc.x","value":{}}`), ""},
		"nested deeply":         {varlinkList(`{"name":"svc.x","value":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`, `{"name":"svc.y","value":1}`), "# TYPE svc_y untyped\nsvc_y 1\n"},
		"unknown keys":          {`{"a":[{}],"parameters":{"b":1,"name":"svc.x","value":1}}` + "\x00", "# TYPE svc_x untyped\nsvc_x 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			body, resp, err := scrapeSocket(t.Context(), newClient(t), startVarlink(t, replies(tt.list)), varlinkRequest(t, 5*time.Second))
			if err != nil || body != tt.want {
				t.Fatalf("%v: %q\nwant %q", err, body, tt.want)
			}
			if resp.ContentType != DefaultContentType || resp.Length() != int64(len(body)) {
				t.Errorf("type %s, length %d of %d", resp.ContentType, resp.Length(), len(body))
			}
			checkParses(t, body)
		})
	}
}

// checkParses fails if Prometheus cannot parse body or sees a series in it twice.
func checkParses(t *testing.T, body string) {
	t.Helper()
	parser := textparse.NewPromParser([]byte(body), labels.NewSymbolTable(), false)
	seen := make(map[string]bool)
	for {
		entry, err := parser.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var series labels.Labels
		parser.Labels(&series)
		if name, twice := series.HasDuplicateLabelNames(); twice || seen[series.String()] {
			t.Fatalf("%s or its label %q is there twice in %q", series, name, body)
		}
		seen[series.String()] = true
	}
}

func TestVarlinkFailures(t *testing.T) {
	repeat := func(text string) func(net.Conn, string) {
		return func(c net.Conn, _ string) {
			batch := []byte(strings.Repeat(text, 1+(64<<10)/len(text)))
			for err := error(nil); err == nil; {
				_, err = c.Write(batch)
			}
		}
	}
	numbered := func(format string) func(net.Conn, string) {
		return func(c net.Conn, _ string) {
			w := bufio.NewWriter(c)
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(w, format+"\x00", i); err != nil {
					return
				}
			}
		}
	}
	closes := func(text string) func(net.Conn, string) {
		return func(c net.Conn, _ string) { io.WriteString(c, text); c.Close() }
	}
	const value = `{"parameters":{"name":"svc.x","value":1},"continues":true}` + "\x00"
	for name, tt := range map[string]struct {
		talk func(net.Conn, string)
		err  error
		text string
	}{
		"never-ending":              {repeat(value), ErrInvalid, "more than 30000 replies to the Varlink method List"},
		"never-ending values":       {numbered(`{"parameters":{"name":"svc.x","object":"%d","value":1},"continues":true}`), ErrInvalid, "30000 replies"},
		"never-ending and large":    {repeat(`{"parameters":{"name":"svc.x","value":"` + strings.Repeat("a", 60<<10) + `"},"continues":true}` + "\x00"), ErrInvalid, "larger than 4 MiB"},
		"millions of families":      {numbered(`{"parameters":{"name":"svc.x%d","value":1},"continues":true}`), ErrInvalid, "30000 replies"},
		"a thousand families":       {replies(thousandFamilies()), ErrInvalid, "more than 500 metrics of different names"},
		"millions of descriptions":  {describes(numbered(`{"parameters":{"name":"svc.x%d","description":"a","type":"gauge"},"continues":true}`)), ErrInvalid, "more than 500 replies to the Varlink method Describe"},
		"a label bomb":              {replies(varlinkList(`{"name":"svc.x","value":1,"fields":{` + strings.Trim(strings.Repeat(`"%":1,`, 17), ",") + `}}`)), nil, ""},
		"labels of many names":      {replies(varlinkList(`{"name":"svc.x","value":1,"fields":{` + manyFields(17) + `}}`)), ErrInvalid, `"svc.x" has more than 16 fields`},
		"a huge message":            {repeat("{" + strings.Repeat(" ", 1<<20)), ErrInvalid, "larger than 64 KiB"},
		"no NUL":                    {closes(`{"parameters":{"name":"svc.x","value":1}}`), ErrTruncated, "closed the connection after 41 bytes"},
		"no end":                    {closes(value), ErrTruncated, "before the end"},
		"nothing":                   {closes(""), ErrTruncated, "before its metrics"},
		"an empty message":          {replies("\x00"), ErrInvalid, "does not speak Varlink"},
		"HTTP":                      {closes("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), ErrInvalid, `does not speak Varlink: it begins with "HTTP/1.1 400 Bad Req"`},
		"no JSON":                   {replies("{x\x00"), ErrInvalid, "invalid character 'x'"},
		"two messages in one":       {replies("{}{}\x00"), ErrInvalid, "after top-level value"},
		"too deep":                  {replies(varlinkList(`{"name":"svc.x","value":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`)), ErrInvalid, "exceeded max depth"},
		"an array":                  {replies(varlinkList(`[]`)), ErrInvalid, "cannot unmarshal array"},
		"a name that is a number":   {replies(varlinkList(`{"name":1,"value":1}`)), ErrInvalid, "cannot unmarshal number"},
		"an object that is one":     {replies(varlinkList(`{"name":"svc.x","object":{},"value":1}`)), ErrInvalid, "cannot unmarshal object"},
		"fields that are text":      {replies(varlinkList(`{"name":"svc.x","fields":"a","value":1}`)), ErrInvalid, "cannot unmarshal string"},
		"not UTF-8":                 {replies(varlinkList("{\"name\":\"svc.x\",\"object\":\"\xff\",\"value\":1}")), ErrInvalid, "is not UTF-8"},
		"more after the last reply": {replies(varlinkList(`{"name":"svc.Level","value":1}`) + value), ErrInvalid, "more after its last reply"},
		"an error":                  {replies(`{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"x"}}` + "\x00"), ErrStatus, "the Varlink method List returned org.varlink.service.MethodNotFound;"},
		"an error that is hostile":  {replies(`{"error":"\u001b[2J"}` + "\x00"), ErrStatus, "returned ?[2J;"},
		"an error of Describe":      {describes(func(c net.Conn, _ string) { io.WriteString(c, `{"error":"a.B"}`+"\x00") }), ErrStatus, "the Varlink method Describe returned a.B;"},
		"names of another service":  {replies(varlinkList(`{"name":"other.x","value":1}`)), ErrNotMetrics, `begin with "other.x", not with that of the socket, svc.`},
		"slow":                      {func(c net.Conn, _ string) { slowly(c, value) }, ErrTimeout, "if the service is slow rather than stuck"},
		"silent":                    {func(c net.Conn, _ string) {}, ErrTimeout, "received nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := 10 * time.Second
			if tt.err == ErrTimeout {
				timeout = 200 * time.Millisecond
			}
			_, _, err := scrapeSocket(t.Context(), newClient(t), startVarlink(t, tt.talk), varlinkRequest(t, timeout))
			if !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v; want %v with %q", err, tt.err, tt.text)
			}
			if err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("%q has control characters", err)
			}
		})
	}
}

// describes returns a service that replies to List with one value, and talks when Describe is called.
func describes(talk func(net.Conn, string)) func(net.Conn, string) {
	return func(c net.Conn, method string) {
		if method == "Describe" {
			talk(c, method)
			return
		}
		io.WriteString(c, varlinkList(`{"name":"svc.x","value":1}`))
	}
}

func thousandFamilies() string {
	var values []string
	for i := range 1000 {
		values = append(values, fmt.Sprintf(`{"name":"svc.x%d","value":1}`, i))
	}
	return varlinkList(values...)
}

func manyFields(n int) string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"f%d":1`, i))
	}
	return strings.Join(fields, ",")
}

func slowly(c net.Conn, text string) {
	for _, b := range []byte(text) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Describe is called once, and again if there is a metric that it did not name, on the connection of List. A socket
// that replaced another is described again.
func TestVarlinkDescriptionsAreKept(t *testing.T) {
	var calls atomic.Pointer[string]
	calls.Store(new(string))
	list := varlinkList(`{"name":"svc.Level","value":1}`)
	socket := startVarlink(t, func(c net.Conn, method string) {
		all := *calls.Load() + method[:1]
		calls.Store(&all)
		replies(list)(c, method)
	})
	client := newClient(t)
	scrape := func(want string) {
		t.Helper()
		if _, _, err := scrapeSocket(t.Context(), client, socket, varlinkRequest(t, 5*time.Second)); err != nil {
			t.Error(err)
		}
		if got := *calls.Load(); got != want {
			t.Errorf("calls %s, want %s", got, want)
		}
	}
	scrape("LD")
	scrape("LDL")
	list = varlinkList(`{"name":"svc.Level","value":1}`, `{"name":"svc.New","value":1}`)
	scrape("LDLLD")
	scrape("LDLLDL")
	// Those of too many sockets are forgotten.
	for i := range limits.MaxVarlinkServices {
		client.varlinkService(fmt.Sprint(i))
	}
	scrape("LDLLDLLD")
	if n := len(client.varlink); n > limits.MaxVarlinkServices {
		t.Errorf("%d services are kept", n)
	}
}

// Two scrapes of a socket run at once. Others wait for half of their time, then fail without blaming the service.
func TestVarlinkScrapesAtOnce(t *testing.T) {
	release := make(chan bool)
	var running, most atomic.Int32
	socket := startVarlink(t, func(c net.Conn, method string) {
		if method == "List" {
			most.Store(max(most.Load(), running.Add(1)))
			<-release
			running.Add(-1)
		}
		replies(varlinkList(`{"name":"svc.Level","value":1}`))(c, method)
	})
	client := newClient(t)
	results := make(chan error)
	for range 3 {
		go func() {
			_, _, err := scrapeSocket(context.Background(), client, socket, varlinkRequest(t, 10*time.Second))
			results <- err
		}()
	}
	eventually(t, "two scrapes", func() bool { return running.Load() == limits.MaxVarlinkScrapes })
	_, _, err := scrapeSocket(t.Context(), client, socket, varlinkRequest(t, 200*time.Millisecond))
	if !errors.Is(err, ErrBusy) {
		t.Errorf("a scrape beyond the limit: %v, want %v", err, ErrBusy)
	}
	close(release)
	for range 3 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := most.Load(); n != limits.MaxVarlinkScrapes {
		t.Errorf("%d scrapes at once, want %d", n, limits.MaxVarlinkScrapes)
	}
}

// A scraper that hangs up ends the scrape, and lets go of the service.
func TestVarlinkHangUp(t *testing.T) {
	socket := startVarlink(t, func(net.Conn, string) {})
	client := newClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, _, err := scrapeSocket(ctx, client, socket, varlinkRequest(t, 30*time.Second)); !errors.Is(err, ErrCanceled) {
		t.Errorf("%v, want %v", err, ErrCanceled)
	}
}

// Text in memory counts as a buffered response, so that many scrapes at once cannot fill the memory.
func TestVarlinkMemoryIsBounded(t *testing.T) {
	buffersInUse.Add(maxBuffers - 1)
	t.Cleanup(func() { buffersInUse.Add(1 - maxBuffers) })
	var values []string
	for i := range 2000 {
		values = append(values, fmt.Sprintf(`{"name":"svc.x","object":"%0100d","value":1}`, i))
	}
	socket := startVarlink(t, replies(varlinkList(values...)))
	if _, _, err := scrapeSocket(t.Context(), newClient(t), socket, varlinkRequest(t, 5*time.Second)); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want %v", err, ErrBusy)
	}
}

// Whatever a service sends, the scrape fails or the text is one that Prometheus reads.
func FuzzVarlink(f *testing.F) {
	f.Add([]byte(varlinkList(`{"name":"svc.Total","object":"b","value":1,"fields":{"a-b":"é\\\""}}`, `{"name":"svc.State","value":"x"}`)), []byte(varlinkDescriptions))
	f.Add([]byte(varlinkList(`{"name":"svc.x","value":18446744073709551615}`, `{"name":"svc.x_info","value":-1e-7}`, `{"name":"svc.x","value":"y"}`)), []byte(`{"error":"io.systemd.Metrics.NoSuchMetric"}`+"\x00"))
	f.Add([]byte(`{"error":"a.B","continues":true}`+"\x00"), []byte{})
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), []byte("{}\x00"))
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, list, describe []byte) {
		conn := varlinkConn{roundTrip: roundTrip{ctx: t.Context(), conn: &conn{File: null}}}
		defer func() { (&Response{full: conn.full}).Close() }()
		conn.in = bufio.NewReaderSize(bytes.NewReader(list), limits.MaxVarlinkMessage)
		samples, err := conn.list("svc.")
		if err != nil {
			return
		}
		conn.in = bufio.NewReaderSize(bytes.NewReader(describe), limits.MaxVarlinkMessage)
		described, err := conn.describe(samples)
		if err != nil {
			return
		}
		checkParses(t, string(varlinkText(samples, described.byName)))
	})
}
