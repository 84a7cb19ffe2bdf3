package web

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/target"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

func TestOwnMetrics(t *testing.T) {
	a := start(t)
	a.service("fine", oneSample)
	a.service("metrics", oneSample)
	a.get("/fine")
	for i := range 50 {
		a.get(fmt.Sprint("/absent", i))
	}
	for series, want := range map[string]string{
		"aegis_sockets": "1", "aegis_sockdir_up": "1",
		`aegis_scrapes_total{result="ok",target="fine"}`: "1",
		"aegis_scrape_duration_seconds_count":            "1",
		"aegis_relayed_bytes_total":                      "4",
		"aegis_scrapes_in_flight":                        "0",
		"aegis_unknown_target_requests_total":            "50",
		"aegis_slow_client_disconnects_total":            "0",
		"aegis_rejected_connections_total":               "0",
	} {
		eventually(t, series+" is "+want, func() bool { return a.metric(series) == want })
	}
	body := a.get("/metrics").body
	for _, want := range []string{`revision="abc",version="1.2.3"} 1`, "process_open_fds", "go_goroutines", "aegis_backend_connections "} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, `"absent`) {
		t.Error("a name that never was a target has a series")
	}
	remove(t, a.dir)
	if got := a.metric("aegis_sockdir_up"); got != "0" {
		t.Errorf("aegis_sockdir_up without the directory: %q, want 0", got)
	}
}

// A target that may not be scraped by a client is hidden from it everywhere.
func TestAllow(t *testing.T) {
	a := start(t)
	for _, name := range []string{"all", "mine", "theirs", "nobodys"} {
		a.service(name, oneSample)
	}
	a.get("/theirs") // It has series before it is forbidden.
	allow := func(certificate string, prefixes ...string) targetsfile.Target {
		allow := &targetsfile.Allow{Certificates: []string{certificate}}
		for _, p := range prefixes {
			allow.Addresses = append(allow.Addresses, netip.MustParsePrefix(p))
		}
		return targetsfile.Target{Allow: allow}
	}
	a.setTargets(map[string]targetsfile.Target{
		"mine": allow("", "127.0.0.0/8"), "theirs": allow("theirs", "10.0.0.0/8", "fe80::/10"), "nobodys": allow(""),
	})
	for name, want := range map[string]int{"all": 200, "mine": 200, "theirs": 403, "nobodys": 403} {
		if got := a.get("/" + name); got.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", name, got.StatusCode, got.body, want)
		}
	}
	a.waitForScrapes(1, "all", target.OK)
	a.waitForScrapes(1, "mine", target.OK)
	discovered, page := a.discovered(), a.get("/").body
	for name, want := range map[string]bool{"all": true, "mine": true, "theirs": false, "nobodys": false} {
		if got := discovered["/"+name] != nil; got != want {
			t.Errorf("%s is discovered: %v, want %v", name, got, want)
		}
		if got := strings.Contains(page, name); got != want {
			t.Errorf("%s is on the page: %v, want %v", name, got, want)
		}
		if got := strings.Contains(a.get("/metrics").body, `target="`+name+`"`); got != want {
			t.Errorf("%s is in Aegis' own metrics: %v, want %v", name, got, want)
		}
	}
	a.setTargets(nil)
	a.waitForScrapes(1, "theirs", target.Forbidden)
	if got := a.metric("aegis_scrape_duration_seconds_count"); got != "3" {
		t.Errorf("%s durations, want those of the 3 scrapes that were allowed", got)
	}
}
