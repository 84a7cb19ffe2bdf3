package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/sockdir"
	"tulpa.dev/cadey/aegis/internal/web"
)

// errCheckFailed is the end of a check that found something; what it found is
// printed already.
var errCheckFailed = errors.New("not all targets are fine")

// checked is how a target is.
type checked struct {
	Name    string  `json:"name"`
	Result  string  `json:"result"`
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds"`
	Bytes   int     `json:"bytes"`
	Samples int     `json:"samples"`
}

// check scrapes targets once, as the daemon would, and says what is wrong.
func check(args []string, p process) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	dir := fs.String("sockdir", "./run", "")
	output := fs.String("output", "table", "")
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		return usageError(err)
	}
	if *output != "table" && *output != "json" {
		return fmt.Errorf("-output %q is neither table nor json: %w", *output, errUsage)
	}
	path, err := sockdirPath(*dir)
	if err != nil {
		return err
	}
	folder := sockdir.New(path)
	names := fs.Args()
	var unserved []sockdir.Entry
	if len(names) == 0 {
		if names, unserved, err = entries(folder); err != nil {
			return fmt.Errorf("finding the sockets: %w", err)
		}
	}
	results := checkAll(folder, names)
	if err := report(p, *output, path, results, unserved); err != nil {
		return err
	}
	noteUser(p.stderr)
	for _, r := range results {
		if r.Error != "" {
			return errCheckFailed
		}
	}
	return nil
}

// entries returns the names of the sockets in the folder, and what else there is
// that is not served.
func entries(folder sockdir.Folder) (names []string, unserved []sockdir.Entry, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limits.ListTimeout)
	defer cancel()
	list, err := folder.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range list {
		if err := web.Unserved(e); err != nil {
			e.Err = err
			unserved = append(unserved, e)
		} else {
			names = append(names, e.Name)
		}
	}
	return names, unserved, nil
}

// checkAll checks the targets, some at a time, and returns how they are in the
// order of their names.
func checkAll(folder sockdir.Folder, names []string) []checked {
	var client scrape.Client
	defer client.Retain(nil)
	results := make([]checked, len(names))
	slots := make(chan struct{}, limits.ScrapesPerTarget)
	var done sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		done.Go(func() {
			results[i] = checkOne(&client, folder, name)
			<-slots
		})
	}
	done.Wait()
	return results
}

func checkOne(client *scrape.Client, folder sockdir.Folder, name string) checked {
	c := checked{Name: name, Result: "ok"}
	start := time.Now()
	contentType, body, err := scrapeTarget(client, folder, name)
	c.Seconds = time.Since(start).Seconds()
	c.Bytes = len(body)
	if err == nil {
		c.Samples, err = countSamples(contentType, body)
	}
	if err != nil {
		c.Result, c.Error = web.Result(err), err.Error()
	}
	return c
}

func scrapeTarget(client *scrape.Client, folder sockdir.Folder, name string) (contentType string, body []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limits.ScrapeTimeout)
	defer cancel()
	if err := web.Unserved(sockdir.Entry{Name: name}); err != nil {
		return "", nil, err
	}
	socket, err := folder.Lookup(ctx, name)
	if err != nil {
		return "", nil, fmt.Errorf("%w%s", err, web.Hint(name))
	}
	r, err := http.NewRequest(http.MethodGet, "http://localhost/"+name, nil)
	if err != nil {
		return "", nil, err
	}
	// The format that every service has, and that is parsed here.
	r.Header.Set("Accept", "text/plain;version=0.0.4;q=1,*/*;q=0.1")
	r.Header.Set("User-Agent", "aegis-check/"+version)
	a, err := client.Get(ctx, socket, scrape.NewRequest(r))
	if err != nil {
		return "", nil, err
	}
	defer a.Close()
	var buf bytes.Buffer
	_, err = a.WriteTo(&buf)
	return a.ContentType, buf.Bytes(), err
}

// countSamples parses an exposition and returns how many samples it has.
func countSamples(contentType string, body []byte) (int, error) {
	if strings.HasPrefix(contentType, "application/") {
		// OpenMetrics or protobuf from a service that does not negotiate: that
		// it came whole is all that is known of it.
		return 0, nil
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", scrape.ErrNotMetrics, err)
	}
	samples := 0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			samples += samplesOf(m)
		}
	}
	return samples, nil
}

// samplesOf returns how many lines m takes in the text format.
func samplesOf(m *dto.Metric) int {
	switch {
	case m.Histogram != nil:
		return len(m.Histogram.Bucket) + 2
	case m.Summary != nil:
		return len(m.Summary.Quantile) + 2
	default:
		return 1
	}
}

// report prints how the targets are.
func report(p process, output, path string, results []checked, unserved []sockdir.Entry) error {
	if output == "json" {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(results)
	}
	for _, e := range unserved {
		fmt.Fprintf(p.stdout, "%s is not served: %v\n", printableName(e.File), e.Err)
	}
	if len(results) == 0 {
		_, err := fmt.Fprintf(p.stdout, "There is no socket to scrape in %s.\n", path)
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tRESULT\tTIME\tBYTES\tSAMPLES")
	for _, r := range results {
		took := time.Duration(r.Seconds * float64(time.Second)).Round(10 * time.Microsecond)
		fmt.Fprintf(w, "%s\t%s\t%v\t%d\t%d\n", printableName(r.Name), r.Result, took, r.Bytes, r.Samples)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.Error != "" {
			fmt.Fprintf(p.stdout, "\n%s: %s\n", printableName(r.Name), r.Error)
		}
	}
	return nil
}

// printableName is name as it is, or quoted where it could mislead.
func printableName(name string) string {
	if sockdir.ValidName(name) {
		return name
	}
	return strconv.Quote(name)
}

// noteUser says whose permissions were tried, where the daemon has others.
func noteUser(w io.Writer) {
	u, err := user.Lookup("aegis")
	if err != nil || u.Uid == strconv.Itoa(os.Geteuid()) {
		return
	}
	fmt.Fprintf(w, "aegis: checked as %s; the service runs as user aegis, and may be denied what is not denied here (sudo -u aegis aegis check)\n", sockdir.Whoami())
}

// sockdirPath is the folder that -sockdir names.
func sockdirPath(dir string) (string, error) {
	if dir == "" {
		return "", fmt.Errorf("-sockdir is empty, it names a folder: %w", errUsage)
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding -sockdir %s: %w", dir, err)
	}
	return path, nil
}
