package web

import (
	"html/template"
	"slices"
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// States of a socket, as the page and its address have them.
const (
	stateFailing   = "failing"
	stateUnscraped = "unscraped"
	stateFine      = "fine"
)

// states are all of them, the most urgent first.
var states = []string{stateFailing, stateUnscraped, stateFine}

// stateTitles are the states in words; the empty one is any.
var stateTitles = map[string]string{"": "in all", stateFailing: "failing", stateUnscraped: "never scraped yet", stateFine: "fine"}

// socket is one that is served, and what is known of it.
type socket struct {
	entry socketdir.Entry
	*target
}

func (s *socket) stateName() string {
	switch s.state.result {
	case "":
		return stateUnscraped
	case resultOK:
		return stateFine
	default:
		return stateFailing
	}
}

// urgency is less the more urgent the state.
func (s *socket) urgency() int { return slices.Index(states, s.stateName()) }

func (s *socket) scraped() bool { return !s.last.at.IsZero() }

// reason is why it fails, empty if it does not.
func (s *socket) reason() string {
	if s.state.err == nil {
		return ""
	}
	return s.state.err.Error()
}

// row is a socket as the page shows it.
//
// Ten thousand of them are to take less than 200 ms, and each piece that a
// template fills in takes one or two microseconds. So what comes from outside is
// left to the template to escape, and the cells that hold nothing but a valid name,
// numbers and words of Aegis' own are made here.
type row struct {
	Cells template.HTML

	Said   bool          // there is one of these:
	Why    string        // it fails
	Since  template.HTML // when
	Aside  string        // how the last scrape ended, if that says nothing of the service
	Failed *failed       // the last time that it failed, if it does not now
}

// failed is a failure that is over.
type failed struct {
	When template.HTML
	Why  string
}

func newRow(s *socket, access template.HTML, now time.Time) row {
	state := s.stateName()
	since := template.HTML("")
	if state != stateUnscraped {
		since = " for " + moment(s.since, now, "")
	}
	r := row{
		Cells: link(s.entry.Name) + "<td>" + stateTags[state] + since + lastScrape(s, now) + access,
		Why:   s.reason(),
	}
	if state == stateFine && s.failed.err != nil {
		r.Failed = &failed{moment(s.failed.at, now, " ago"), s.failed.err.Error()}
	}
	if s.last.err != nil && !s.last.tells() {
		r.Aside = cause(s.last.err).Error()
	}
	if state == stateFailing {
		r.Since = template.HTML(s.since.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	r.Said = r.Why != "" || r.Aside != "" || r.Failed != nil
	return r
}

// link is the cell of a socket's name. A valid one has nothing that HTML or a URL
// could take for more than text; should it have, it is escaped.
func link(name string) template.HTML {
	name = template.HTMLEscapeString(name)
	return template.HTML(`<th scope="row"><a href="/` + name + `">` + name + `</a>`)
}

// lastScrape is four cells.
func lastScrape(s *socket, now time.Time) template.HTML {
	if !s.scraped() {
		return neverScraped
	}
	cells := "<td>" + moment(s.last.at, now, " ago") +
		number("", durationInWords(s.last.took)) +
		number("", sizeInWords(s.last.bytes))
	switch {
	case s.countedAt.IsZero() || s.series == uncounted:
		return cells + number("", "–")
	case s.countedAt.Equal(s.last.at):
		return cells + number("", grouped(s.series))
	default:
		return cells + number("counted "+spanInWords(now.Sub(s.countedAt))+" ago", "≈ "+grouped(s.series))
	}
}

// stateTags are the states as the page shows them.
var stateTags = func() map[string]template.HTML {
	tags := make(map[string]template.HTML)
	for _, s := range states {
		tags[s] = template.HTML(`<span class="state ` + s + `">` + stateTitles[s] + `</span>`)
	}
	return tags
}()

var neverScraped = "<td>–" + number("", "–") + number("", "–") + number("", "–")

// number is a cell with a number, and what there is to say of it. Neither may come
// from outside.
func number(title, n string) template.HTML {
	if title != "" {
		title = ` title="` + title + `"`
	}
	return template.HTML(`<td class="number"` + title + `>` + n)
}

// moment is how long ago t is, with what is to be said behind it, and t itself.
func moment(t, now time.Time, behind string) template.HTML {
	at := t.UTC().Format(time.RFC3339)
	return template.HTML(`<time datetime="` + at + `" title="` + at + `">` + spanInWords(now.Sub(t)) + behind + `</time>`)
}
