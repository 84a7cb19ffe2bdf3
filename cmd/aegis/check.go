package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
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
	Series  int     `json:"series"`
	// Repeated is how many samples are of a series that has one already.
	Repeated int `json:"repeated,omitempty"`
	// Lint is what promlint says, with -lint.
	Lint []problem `json:"lint,omitempty"`
}

// problem is a promlint.Problem. Metric is empty where it is of all.
type problem struct {
	Metric string `json:"metric"`
	Text   string `json:"text"`
}

// String returns p in a line.
func (p problem) String() string {
	if p.Metric == "" {
		return oneLine(p.Text)
	}
	return strconv.QuoteToGraphic(p.Metric) + ": " + oneLine(p.Text)
}

// check scrapes targets once, as the daemon would, and says what is wrong.
func check(args []string, p process) error {
	// A signal ends it as any command: it has nothing to finish.
	signal.Reset(syscall.SIGTERM, syscall.SIGINT)
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	dir := fs.String("sockdir", "./run", "")
	file := fs.String("config.file", "", "")
	webFile := fs.String("web.config.file", "", "")
	lint := fs.Bool("lint", false, "")
	output := fs.String("output", "table", "")
	timeout := limits.DefaultScrapeTimeout
	fs.Func("timeout", "", func(value string) (err error) {
		if timeout, err = time.ParseDuration(value); err != nil || timeout <= 0 || timeout > limits.MaxScrapeTimeout {
			err = fmt.Errorf("no duration such as 5s or 1m30s, up to %v", limits.MaxScrapeTimeout)
		}
		return err
	})
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		return usageError(fs, err)
	}
	for _, name := range fs.Args() {
		if strings.HasPrefix(name, "-") {
			return fmt.Errorf("%s stands after a name; flags go before names: %w", name, errUsage)
		}
		if info, err := os.Stat(name); err == nil && info.IsDir() && strings.Contains(name, "/") {
			return fmt.Errorf("%s is a folder; -sockdir names the folder of sockets: %w", name, errUsage)
		}
		if _, err := netip.ParseAddrPort(name); err == nil || strings.Contains(name, "://") {
			return fmt.Errorf("%s is an address; check asks the services themselves, by the names of their sockets, and curl asks an Aegis that runs: %w", name, errUsage)
		}
	}
	if *output != "table" && *output != "json" {
		return fmt.Errorf("-output %q is neither table nor json: %w", *output, errUsage)
	}
	if err := filesNamed(fs); err != nil {
		return err
	}
	path, err := sockdirPath(*dir)
	if err != nil {
		return err
	}
	targets, err := readTargets(*file)
	if err != nil {
		return err
	}
	webConfig, err := readWebConfig(*webFile)
	if err != nil {
		return err
	}
	if *webFile != "" && !verifies(webConfig.TLSConfig.ClientAuth) {
		for _, name := range byCertificate(targets) {
			fmt.Fprintf(p.stderr, "aegis: %s: %s\n", name, certificatesUnverified)
		}
	}
	end := expired(*webFile, webConfig.TLSConfig)
	if !end.IsZero() {
		fmt.Fprintf(p.stderr, "aegis: %s: %s (it ended %v)\n", webConfig.TLSConfig.TLSCertPath, certificateExpired, end)
	}
	words := p.stdout
	if *output == "json" {
		words = p.stderr
	}
	if *file != "" {
		fmt.Fprintf(words, "%s: understood, targets: %d\n", *file, len(targets.Targets))
	}
	if *webFile != "" {
		fmt.Fprintf(words, "%s: understood\n", *webFile)
	}
	asService := runAsService("aegis", args)
	if asService != "" {
		fmt.Fprintf(p.stderr, "aegis: checked as %s; the service runs as another user and may fare otherwise: %s\n", socketdir.CurrentUser(), asService)
	}
	catalog := web.NewCatalog(socketdir.New(path), targets)
	names := fs.Args()
	var unserved []socketdir.Entry
	alike := false
	if len(names) == 0 {
		if names, unserved, err = entries(catalog); err != nil {
			return fmt.Errorf("finding the sockets: %w", deniedHere(err, asService))
		}
		names = withTargets(names, targets)
		alike = noteAlike(p.stderr, names, targets)
	}
	results := checker{catalog: catalog, lint: *lint, timeout: timeout, asService: asService}.all(names)
	noteUnserved(words, path, results, unserved)
	if err := report(p.stdout, *output, results); err != nil {
		return err
	}
	for _, r := range results {
		if r.Error != "" {
			return errCheckFailed
		}
	}
	if alike || !end.IsZero() {
		return errCheckFailed
	}
	return nil
}

// entries returns the names of the targets, and what else there is that is not
// served.
func entries(catalog *web.Catalog) (names []string, unserved []socketdir.Entry, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limits.ListTimeout)
	defer cancel()
	list, err := catalog.List(ctx, catalog.File())
	if err != nil {
		return nil, nil, err
	}
	for _, e := range list {
		if e.Err != nil {
			unserved = append(unserved, e)
		} else {
			names = append(names, e.Name)
		}
	}
	return names, unserved, nil
}

// withTargets returns names, which are sorted, and those of file that are not among them: what is
// written there and has no socket is perhaps misspelt.
func withTargets(names []string, file targetsfile.File) []string {
	all := slices.Clone(names)
	for name, t := range file.Targets {
		if _, listed := slices.BinarySearch(names, name); !t.Disabled && !listed {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// noteAlike says of two targets that Prometheus cannot tell apart, if it finds any.
func noteAlike(w io.Writer, names []string, file targetsfile.File) (found bool) {
	target, other := file.DuplicateLabels(func(name string) bool {
		_, there := slices.BinarySearch(names, name)
		return there
	})
	if other == "" {
		return false
	}
	fmt.Fprintf(w, "aegis: %s and %s have the same labels, and Prometheus takes one for the other; give one other labels in the targets file\n", target, other)
	return true
}

// checker checks targets with the code of the daemon.
type checker struct {
	client  *scrape.Client
	catalog *web.Catalog
	lint    bool
	timeout time.Duration
	// asService is the command that checks as the service; empty if this does.
	asService string
	parsing   *sync.Mutex
}

// all checks the targets, some at a time, and returns how they are in the order
// of their names.
func (c checker) all(names []string) []checked {
	c.client, c.parsing = new(scrape.Client), new(sync.Mutex)
	defer c.client.Retain(nil)
	results := make([]checked, len(names))
	slots := make(chan struct{}, limits.MaxScrapesPerTarget)
	var done sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		done.Go(func() {
			results[i] = c.one(name)
			<-slots
		})
	}
	done.Wait()
	return results
}

func (c checker) one(name string) checked {
	result := checked{Name: name, Result: "ok"}
	start := time.Now()
	body, err := c.scrape(name)
	result.Seconds = time.Since(start).Seconds()
	result.Bytes = body.size
	// One at a time: what is parsed takes many times its size.
	c.parsing.Lock()
	defer c.parsing.Unlock()
	if err == nil {
		var found counted
		found, err = body.parse()
		result.Series, result.Repeated = found.series, found.repeated
	}
	if err != nil {
		result.Result, result.Error = resultOf(err), oneLine(deniedHere(err, c.asService).Error())
		return result
	}
	if c.lint {
		result.Lint = body.lint()
	}
	return result
}

// resultOf is web.Result, and what only a check can find.
func resultOf(err error) string {
	if errors.Is(err, errTooLarge) {
		return "too_large"
	}
	return web.Result(err)
}

// What Prometheus accepts by default, as far as it is text, and what promlint reads.
const (
	accepted = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
	lintable = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
)

// scrape scrapes as Prometheus does whose scrape_timeout is c.timeout.
func (c checker) scrape(name string) (exposition, error) {
	r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
	if err != nil {
		return exposition{}, err
	}
	r.Header.Set("Accept", accepted)
	r.Header.Set("Accept-Encoding", "gzip")
	if c.lint {
		r.Header.Set("Accept", lintable)
	}
	r.Header.Set("User-Agent", "aegis-check/"+version)
	r.Header.Set(scrape.TimeoutHeader, strconv.FormatFloat(c.timeout.Seconds(), 'f', -1, 64))
	target := c.catalog.Target(name)
	request := scrape.NewRequest(r).To(target)
	ctx, cancel := context.WithTimeout(context.Background(), request.Timeout)
	defer cancel()
	socket, err := c.catalog.Find(ctx, name, target)
	if err != nil {
		return exposition{}, fmt.Errorf("%w%s", err, cmp.Or(web.Hint(name), c.nearly(name, err)))
	}
	a, err := c.client.Get(ctx, socket, request)
	if err != nil {
		return exposition{}, err
	}
	defer a.Close()
	e := exposition{contentType: a.ContentType, encoding: a.ContentEncoding}
	_, err = a.WriteTo(&e)
	return e, err
}

// nearly says of name, which was not found with err, that the folder has a socket that
// lacks only the right name.
func (c checker) nearly(name string, err error) string {
	if !errors.Is(err, socketdir.ErrNotFound) {
		return ""
	}
	_, unserved, _ := entries(c.catalog) // Without the list there is no hint.
	for _, e := range unserved {
		if e.File == name || strings.EqualFold(e.File, name+socketdir.Suffix) {
			return fmt.Sprintf("; %s is there, but not served: %s", printableName(e.File), web.Why(e.Err))
		}
	}
	return ""
}

// noteUnserved says what is not served, or that there is nothing at all.
func noteUnserved(w io.Writer, path string, results []checked, unserved []socketdir.Entry) {
	for _, e := range unserved {
		fmt.Fprintf(w, "%s is not served: %s\n", printableName(e.File), web.Why(e.Err))
	}
	switch {
	case len(results) > 0:
	case len(unserved) > 0:
		fmt.Fprintf(w, "Nothing else is in %s: no socket is scraped.\n", path)
	default:
		fmt.Fprintf(w, "There is no socket to scrape in %s; name another folder with -sockdir.\n", path)
	}
}

// report prints how the targets are.
func report(out io.Writer, format string, results []checked) error {
	switch {
	case format == "json":
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(results)
	case len(results) == 0:
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tRESULT\tTIME\tBYTES\tSERIES")
	for _, r := range results {
		took := time.Duration(r.Seconds * float64(time.Second)).Round(10 * time.Microsecond)
		fmt.Fprintf(w, "%s\t%s\t%v\t%d\t%d\n", printableName(r.Name), r.Result, took, r.Bytes, r.Series)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.Error != "" {
			fmt.Fprintf(out, "\n%s: %s\n", printableName(r.Name), r.Error)
		}
		if r.Error == "" && r.Series == 0 {
			fmt.Fprintf(out, "\n%s: there is no sample in its answer: to Prometheus it is up and has nothing to say\n", printableName(r.Name))
		}
		if r.Repeated > 0 {
			fmt.Fprintf(out, "\n%s: %d of its samples are of a series that has one already: Prometheus drops them\n", printableName(r.Name), r.Repeated)
		}
		for _, problem := range r.Lint {
			fmt.Fprintf(out, "\n%s: lint: %s\n", printableName(r.Name), problem)
		}
	}
	return nil
}

// oneLine is s, which may hold what a service sent, without what a terminal obeys.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// printableName is name as it is, or quoted where it could mislead.
func printableName(name string) string {
	if socketdir.ValidName(name) {
		return name
	}
	return strconv.Quote(name)
}

// runAsService is the command that checks the same with the permissions of the user
// called daemon, where those are others; else it is empty.
func runAsService(daemon string, args []string) string {
	u, err := user.Lookup(daemon)
	if err != nil || u.Uid == strconv.Itoa(os.Geteuid()) {
		return ""
	}
	command := "runuser -u " + daemon + " -- aegis check"
	for _, arg := range args {
		command += " " + socketdir.ShellQuote(arg)
	}
	return command
}

// deniedHere is err, with other advice if something was denied to this process and
// asService says how the service would fare: what opens it to this user can shut that out.
func deniedHere(err error, asService string) error {
	var denied *socketdir.DeniedError
	if asService == "" || !errors.As(err, &denied) {
		return err
	}
	return fmt.Errorf("%w: %s and this check runs as %s, not as the service; before anything is changed, see what that may: %s",
		socketdir.ErrDenied, denied.Found, socketdir.CurrentUser(), asService)
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
