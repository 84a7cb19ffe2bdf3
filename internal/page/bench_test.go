package page

import (
	"fmt"
	"net/url"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// BenchmarkRender measures a page of limits.MaxPageRows rows of limits.MaxTargets targets.
//
//	go test -run '^$' -bench Render -benchmem ./internal/page
func BenchmarkRender(b *testing.B) {
	for _, bb := range []struct {
		name, query string
		failing     int // of ten targets
		notServed   bool
	}{
		{"few fail", "", 1, false},
		{"few fail, sorted", "state=failing&sort=size&desc=1", 1, false},
		{"few fail, searched", "q=worker@77", 1, false},
		{"all fail", "", 10, false},
		{"all fail, as many are not served", "", 10, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			c := many(0)
			for i := range limits.MaxTargets {
				name := fmt.Sprintf("worker@%d", i)
				if i%10 < bb.failing {
					c.Targets = append(c.Targets, failing(name, errRefused))
				} else {
					c.Targets = append(c.Targets, fine(name))
				}
				if bb.notServed {
					c.NotServed = append(c.NotServed, notServed(name+"-link.sock", socketdir.ErrNotSocket))
				}
			}
			q, err := url.ParseQuery(bb.query)
			if err != nil {
				b.Fatal(err)
			}
			v, err := ParseView(q)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var p *Page
			for b.Loop() {
				p = New(v, c)
				if err := p.Render(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(p.html.Len()), "B/page")
		})
	}
}
