package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// serveVarlink listens on the socket at path. It replies to List with list, and describes NAME.Level.
func serveVarlink(t *testing.T, path, list string) {
	serveVarlinkLists(t, path, func() string { return list })
}

// serveUnits serves the metrics of a systemd with two units: one has failed, and one keeps restarting.
func serveUnits(t *testing.T, path string) {
	restarts := 0
	serveVarlinkLists(t, path, func() string {
		restarts++
		const of = `{"parameters":{"name":"io.systemd.Manager.`
		return of + `UnitsByStateTotal","value":1,"fields":{"state":"active"}},"continues":true}` + "\x00" +
			of + `UnitsByStateTotal","value":1,"fields":{"state":"failed"}},"continues":true}` + "\x00" +
			of + `UnitActiveState","object":"backup.service","value":"failed"},"continues":true}` + "\x00" +
			of + `UnitActiveState","object":"sshd.service","value":"active"},"continues":true}` + "\x00" +
			fmt.Sprintf(of+`NRestarts","object":"sshd.service","value":%d}}`+"\x00", restarts)
	})
}

func serveVarlinkLists(t *testing.T, path string, list func() string) {
	t.Helper()
	l, err := net.Listen("unix", path)
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
					if strings.Contains(call, "Describe") {
						fmt.Fprintf(c, `{"parameters":{"name":"%s.Level","description":"A level","type":"gauge"}}`+"\x00", filepath.Base(path))
						continue
					}
					io.WriteString(c, list())
				}
			}()
		}
	}()
}

// level returns the reply of List with one value of NAME.Level.
func level(name string) string {
	return fmt.Sprintf(`{"parameters":{"name":"%s.Level","value":5}}`+"\x00", name)
}

// fetchBody returns the status and the body at path.
func fetchBody(t *testing.T, addr, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

// Sockets in the directory of -varlinkdir are targets under their file names, except for names that -sockdir has too.
func TestVarlinkDirectory(t *testing.T) {
	t.Parallel()
	dir, varlinkdir := t.TempDir(), filepath.Join(t.TempDir(), "report")
	recordingService(t, dir, "io.example.Both")
	elsewhere := filepath.Join(t.TempDir(), "org.example.Elsewhere")
	serveVarlink(t, elsewhere, level("org.example.Elsewhere"))
	targets := writeFile(t, t.TempDir(), "targets.yml", fmt.Sprintf(`targets:
  elsewhere: {socket: %s, protocol: varlink}
  io.example.Labeled: {labels: {team: core}}
  io.example.Off: {enabled: false}
`, elsewhere))
	flags := []string{"-sockdir", dir, "-varlinkdir", varlinkdir, "-config.file", targets}
	_, addr := startAegis(t, dir, flags[2:]...)
	fetch := func(path, want string) {
		t.Helper()
		if got := fetchBody(t, addr, path); !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %s", path, got, want)
		}
	}
	// The directory need not exist. New sockets in it are found.
	fetch("/io.example.New", "404 io.example.New: no such socket")
	fetch("/-/sd", `"job":"io.example.Both"`)
	if err := os.Mkdir(varlinkdir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"io.example.New", "io.example.Both", "io.example.Labeled", "io.example.Off", "io.example.sock"} {
		serveVarlink(t, filepath.Join(varlinkdir, name), level(name))
	}
	writeFile(t, varlinkdir, "README", "not a socket")

	const described = "200 # HELP io_example_New_Level A level\n# TYPE io_example_New_Level gauge\nio_example_New_Level 5\n"
	fetch("/io.example.New?a=b", described)
	fetch("/io.example.sock", "io_example_sock_Level 5\n")
	fetch("/elsewhere", "# HELP org_example_Elsewhere_Level A level\n")
	fetch("/io.example.Labeled", "io_example_Labeled_Level 5\n")
	fetch("/io.example.Off", "404 io.example.Off: no such socket: the targets file disables it")
	fetch("/README", "502 ")
	if got := fetchBody(t, addr, "/io.example.Both"); strings.Contains(got, "Level") {
		t.Errorf("both directories have a socket, and -sockdir does not win: %s", got)
	}
	sd := fetchBody(t, addr, "/-/sd")
	for _, want := range []string{
		`{"__metrics_path__":"/io.example.New","job":"io.example.New"}`, `"job":"io.example.Labeled","team":"core"`,
		`"job":"io.example.sock"`, `"job":"elsewhere"`,
	} {
		if strings.Count(sd, want) != 1 {
			t.Errorf("discovery lacks %s, or has it twice: %s", want, sd)
		}
	}
	if strings.Contains(sd, "README") || strings.Contains(sd, "Off") || strings.Count(sd, "io.example.Both\"") != 2 {
		t.Errorf("discovery: %s", sd)
	}
	fetch("/", fmt.Sprintf("5 sockets, 1 in %s and 4 elsewhere", dir))
	fetch("/", varlinkdir+"/io.example.Both</code></th><td>"+dir+" has an entry of that name too, and that one counts (-sockdir wins)")

	var out bytes.Buffer
	if code := run(append([]string{"check"}, flags...), process{stdout: &out, stderr: &out}); code != 0 {
		t.Errorf("a check exits with %d: %s", code, &out)
	}
	for _, want := range []string{"io.example.New      ok ", "io.example.Both     ok ", "elsewhere           ok ", "io.example.Both is not served: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("a check lacks %q: %s", want, &out)
		}
	}
	// Without -sockdir, the default need not exist.
	t.Run("check", func(t *testing.T) {
		out.Reset()
		code := run([]string{"check", "-varlinkdir", varlinkdir}, process{stdout: &out, stderr: &out})
		if code != 0 || strings.Count(out.String(), " ok ") != 5 {
			t.Errorf("a check of -varlinkdir alone exits with %d: %s", code, &out)
		}
		if code := run([]string{"check", "-varlinkdir", varlinkdir, "-sockdir", varlinkdir + "/absent"}, process{stdout: &out, stderr: &out}); code != 1 {
			t.Errorf("a check of a missing -sockdir exits with %d: %s", code, &out)
		}
	})
}

// Whatever Varlink services do, each scrape of them ends and says why it failed, takes little, and takes nothing from
// a neighbour of the scraper.
func TestHostileVarlinkServices(t *testing.T) {
	const value = `{"parameters":{"name":"hostile.x","value":1},"continues":true}` + "\x00"
	numbered := func(format string) func(net.Conn) {
		return func(c net.Conn) {
			defer c.Close()
			w := bufio.NewWriterSize(c, 256<<10)
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(w, format+"\x00", i); err != nil {
					return
				}
			}
		}
	}
	sends := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			io.WriteString(c, text)
			io.Copy(io.Discard, c)
			c.Close()
		}
	}
	var bomb strings.Builder
	for i := range limits.MaxVarlinkFields {
		fmt.Fprintf(&bomb, `"f%d":"%s",`, i, strings.Repeat("a", limits.MaxVarlinkText))
	}
	for name, tt := range map[string]struct {
		talk func(net.Conn)
		want string // the status and a part of the response
	}{
		"never-ending":           {repeats(value), "502 more than 30000 replies"},
		"never-ending values":    {numbered(`{"parameters":{"name":"hostile.x","object":"%d","value":1},"continues":true}`), "502 more than 30000 replies"},
		"label bombs":            {numbered(`{"parameters":{"name":"hostile.x","object":"%d","fields":{` + strings.Trim(bomb.String(), ",") + `},"value":1},"continues":true}`), "502 larger than 4 MiB"},
		"millions of families":   {numbered(`{"parameters":{"name":"hostile.x%d","value":1},"continues":true}`), "502 more than 30000 replies"},
		"never-ending describes": {repeats(strings.Replace(value, `,"continues":true`, "", 1)), "502 more after its last reply"},
		"huge messages":          {repeats(strings.Repeat("{", 1<<20)), "502 larger than 64 KiB"},
		"deep nesting":           {repeats(`{"parameters":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + "}\x00"), "502 exceeded max depth"},
		"wrong types":            {sends(`{"parameters":{"name":[],"value":1}}` + "\x00"), "502 cannot unmarshal"},
		"no NUL":                 {sends(`{"parameters":{"name":"hostile.x","value":1}}`), "504 "},
		"slow bytes":             {func(c net.Conn) { defer c.Close(); trickle(c, value) }, "504 "},
		"closes at accept":       {func(c net.Conn) { c.Close() }, "502 closed the connection"},
		"speaks HTTP":            {sends("HTTP/1.1 400 Bad Request\r\n\r\n\x00"), "502 does not speak Varlink"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, varlinkdir := sampleDirectory(t), t.TempDir()
			p, addr := startAegis(t, dir, "-varlinkdir", varlinkdir)
			neighbourScrape := neighbour(t, addr)
			before := usageOf(t, addr)
			serveConnections(t, varlinkdir, "hostile", tt.talk)
			if err := os.Rename(filepath.Join(varlinkdir, "hostile.sock"), filepath.Join(varlinkdir, "hostile")); err != nil {
				t.Fatal(err)
			}
			timeout := 30 * time.Second
			if strings.HasPrefix(tt.want, "504") {
				timeout = 500 * time.Millisecond
			}
			stop := flood(limits.MaxVarlinkScrapes, func(int, int) {
				if got := scrapeHostile(t, addr, timeout); !matches(got, tt.want) {
					t.Errorf("%.300q, want %q", got, tt.want)
				}
				time.Sleep(20 * time.Millisecond) // so that the scrapers leave the processor to Aegis
			})
			checkNeighbour(t, dir, neighbourScrape)
			p.checkMemory(t, before.residentMiB, allowedGrowth())
			stop()
			awaitUsage(t, addr, before, 2*limits.MaxIdlePipes)
		})
	}
}

func trickle(c net.Conn, text string) {
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
