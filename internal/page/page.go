// Package page renders the page for people: which targets there are, how each of them does,
// and what else is in the directory of sockets. It gets values and knows no server.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/target"
)

// Content is what the page shows.
type Content struct {
	Host      string    // HOST:PORT where the client reaches Aegis; may be empty
	Version   string    // of Aegis
	Dir       string    // the directory of sockets
	AsOf      time.Time // when the rest was read
	Err       error     // why the targets cannot be listed; nil if they can
	Targets   []target.Snapshot
	NotServed []target.Entry // entries of the directory that are not served; Err says why
	Alerts    []string       // a sentence for each configuration file that failed to reload
}

//go:embed page.html
var source string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"detail":           target.Detail,
	"formatDuration":   formatDuration,
	"formatSize":       formatSize,
	"groupDigits":      groupDigits,
	"quoteUnprintable": quoteUnprintable,
	"sentinel":         target.Sentinel,
	"stateTitle":       stateTitle,
}).Parse(source))

// Page is the part of a Content that a View selects.
type Page struct {
	data   *data // nil once it is rendered: the page may be in memory for much longer
	status int
	html   bytes.Buffer
}

// New returns the page of the part of c that v selects.
func New(v View, c Content) *Page {
	p := &Page{data: newData(v, c), status: http.StatusOK}
	if c.Err != nil {
		p.status = http.StatusServiceUnavailable
	}
	return p
}

// Render renders p, which keeps the processor busy for milliseconds. It fails only if the template is
// wrong.
func (p *Page) Render() error {
	if err := pageTemplate.Execute(&p.html, p.data); err != nil {
		return fmt.Errorf("rendering the page: %w", err)
	}
	p.data = nil
	return nil
}

// ServeHTTP sends p, which was rendered, with status 503 if its targets cannot be listed.
func (p *Page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", securityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.status)
	w.Write(p.html.Bytes())
}

// securityPolicy forbids browsers to load anything, and allows no script and no style but the
// template's own. It has the hashes of both as rendered, since html/template removes comments.
var securityPolicy = func() string {
	var html bytes.Buffer
	if err := pageTemplate.Execute(&html, data{}); err != nil {
		panic(err) // The template does not fit data.
	}
	hash := func(element string) string {
		_, rest, _ := strings.Cut(html.String(), "<"+element+">")
		content, _, _ := strings.Cut(rest, "</"+element+">")
		sum := sha256.Sum256([]byte(content))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; img-src data:; style-src " + hash("style") +
		"; script-src " + hash("script") +
		"; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}()
