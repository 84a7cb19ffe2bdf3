package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
)

// checker checks targets with the daemon's code for scrapes.
type checker struct {
	Options
	set    *target.Set
	client scrape.Client
	// parsing is held while a body is parsed, which takes many times the body's memory.
	parsing sync.Mutex
}

// checkAll checks the targets, limits.MaxScrapesPerTarget at a time, and sends a report on each as soon as
// it is done.
func (c *checker) checkAll(reports chan<- report) {
	defer close(reports)
	var group errgroup.Group
	group.SetLimit(limits.MaxScrapesPerTarget)
	for _, name := range c.Names {
		group.Go(func() error {
			reports <- c.check(name)
			return nil
		})
	}
	group.Wait()
}

func (c *checker) check(name string) report {
	start := time.Now()
	body, err := c.scrape(name)
	r := report{Name: name, Seconds: time.Since(start).Seconds(), Bytes: body.size}
	if err == nil {
		c.parsing.Lock()
		defer c.parsing.Unlock()
		r.Features = body.features()
		body.deadline = time.Now().Add(c.Timeout)
		r.samples, err = body.parse()
	}
	r.Result = target.ResultOf(err)
	if err == errTooLarge || err == errTooSlow {
		r.Result = tooLarge
	}
	if err != nil {
		r.Error = printable(adviseRunAs(err, c.RunAs).Error())
		if status, ok := errors.AsType[*scrape.StatusError](err); ok && status.Line != "" {
			r.Error += "; the service says: " + printable(status.Line)
		}
	} else if c.Lint {
		r.Lint = body.lint()
	}
	return r
}

// scrape scrapes the target called name, without recording it. The errors are those of package scrape and of
// target.Target.Locate.
func (c *checker) scrape(name string) (exposition, error) {
	t := c.set.Get(name)
	request := t.Request(c.scraperRequest())
	ctx, cancel := context.WithTimeout(context.Background(), request.Timeout)
	defer cancel()
	var response *scrape.Response
	socket, err := t.Locate(ctx, &request)
	if err == nil {
		response, err = c.client.Do(ctx, socket, request)
	}
	if errors.Is(err, socketdir.ErrNotFound) {
		err = fmt.Errorf("%w%s", err, cmp.Or(target.Suggest(name), c.suggestFile(name, err)))
	}
	if err != nil {
		return exposition{}, err
	}
	defer response.Close()
	e := exposition{contentType: response.ContentType, encoding: response.ContentEncoding}
	_, err = response.WriteTo(&e)
	return e, err
}

// scraperRequest returns the request that Prometheus would send to Aegis.
func (c *checker) scraperRequest() *http.Request {
	accept := "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," +
		"application/openmetrics-text;version=0.0.1;q=0.5," +
		"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4," +
		"text/plain;version=0.0.4;q=0.3,*/*;q=0.2" // its default, without protobuf
	if c.Lint {
		accept = "text/plain;version=0.0.4;q=1,*/*;q=0.1" // promlint reads no other format.
	}
	// Prometheus names the host's address in the tunnel, which is unknown here. Services often let localhost pass.
	host, _ := os.Hostname()
	return &http.Request{Method: http.MethodGet, URL: new(url.URL), Host: host + ":31337", Header: http.Header{
		"Accept":             {accept},
		"Accept-Encoding":    {"gzip"},
		"User-Agent":         {"aegis-check/" + c.Version},
		scrape.TimeoutHeader: {fmt.Sprint(c.Timeout.Seconds())},
	}}
}

// suggestFile returns what to append to err, the error of looking up name, if the directory has a file that
// name may have meant, and that is not served.
func (c *checker) suggestFile(name string, err error) string {
	if !errors.Is(err, socketdir.ErrNotFound) {
		return ""
	}
	entries, _ := c.set.List(context.Background()) // Without a list there is no suggestion.
	for _, e := range entries {
		if e.Err != nil && (e.File == name || strings.EqualFold(e.File, name+socketdir.Suffix)) {
			return fmt.Sprintf("; %s exists, but is not served: %s", e.File, target.Detail(e.Err))
		}
	}
	return ""
}
