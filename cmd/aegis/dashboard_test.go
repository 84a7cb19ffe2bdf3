package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// dashboard is the content of nix/dashboard.json. Grafana ignores keys that it does not know;
// here a misspelled one is an error.
type dashboard struct {
	UID, Title, Description string
	Tags                    []string
	SchemaVersion           int
	Timezone, Refresh       string
	Time                    struct{ From, To string }
	GraphTooltip            int
	Templating              struct{ List []variable }
	Panels                  []panel
}

type variable struct {
	Name, Label, Type string
	Datasource        datasource
	Query             json.RawMessage // an object in those of type query
	Refresh, Sort     int
	Multi, IncludeAll bool
	Current           json.RawMessage
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               datasource
	Targets                  []panelQuery
	FieldConfig              struct {
		Defaults struct {
			Unit, NoValue string
			Min           float64
			Decimals      int
			Thresholds    struct {
				Mode  string
				Steps []struct {
					Color string
					Value *float64
				}
			}
			Custom json.RawMessage
		}
		Overrides json.RawMessage
	}
	Options, Transformations json.RawMessage
}

type panelQuery struct {
	RefID, Expr, LegendFormat, Format, Interval string
	Instant                                     bool
}

type datasource struct{ Type, UID string }

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	file, err := os.Open("../../nix/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("reading %s: %v", file.Name(), err)
	}
	return d
}

// TestDashboardLayout finds what Grafana would show wrongly, or not at all, without an error.
func TestDashboardLayout(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 41 || len(d.Panels) == 0 {
		t.Errorf("uid %q, title %q, schema version %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	chosen := datasource{"prometheus", "${datasource}"}
	for i, v := range d.Templating.List {
		if i == 0 && (v.Name != "datasource" || v.Type != "datasource" || string(v.Query) != `"prometheus"`) {
			t.Errorf("the first variable is %s, not the data source that the others need", v.Name)
		}
		if i > 0 && (v.Type != "query" || v.Datasource != chosen || !v.Multi || !v.IncludeAll) {
			t.Errorf("variable %s does not offer several or all values of the chosen data source", v.Name)
		}
	}
	ids, titles := make(map[int]bool), make(map[string]bool)
	for i, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] || p.ID < 1 || p.Title == "" {
			t.Errorf("panel %d, %q: its ID or title is missing or not unique", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for _, problem := range p.problems(chosen) {
			t.Errorf("panel %q: %s", p.Title, problem)
		}
		for _, other := range d.Panels[:i] {
			if p.overlaps(other) {
				t.Errorf("panels %q and %q overlap", p.Title, other.Title)
			}
		}
	}
}

func (p panel) problems(chosen datasource) (problems []string) {
	add := func(is bool, problem string) {
		if is {
			problems = append(problems, problem)
		}
	}
	const columns = 24
	g, defaults := p.GridPos, p.FieldConfig.Defaults
	add(!slices.Contains([]string{"stat", "table", "timeseries"}, p.Type), "an unexpected type: "+p.Type)
	add(g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > columns, fmt.Sprintf("outside the grid: %+v", g))
	add(p.Datasource != chosen, "another data source than the chosen one")
	add(p.Description == "", "no description")
	add(defaults.Unit == "", "no unit")
	steps := defaults.Thresholds.Steps
	add(len(steps) == 0 || steps[0].Value != nil, "no thresholds, or none for the lowest values")
	for i := 1; i < len(steps); i++ {
		add(steps[i].Value == nil || i > 1 && *steps[i].Value <= *steps[i-1].Value, "thresholds do not rise")
	}
	add(len(p.Targets) == 0, "no query")
	refs := make(map[string]bool)
	for _, q := range p.Targets {
		add(q.RefID == "" || refs[q.RefID], "queries without unique names")
		refs[q.RefID] = true
		add(q.Expr == "", "query "+q.RefID+" is empty")
		add(p.Type == "timeseries" && q.Instant || p.Type != "timeseries" && !q.Instant, "query "+q.RefID+": a time series needs a range query, other panels an instant query")
		add(p.Type == "table" && q.Format != "table", "query "+q.RefID+" does not return a table")
		add(p.Type != "table" && q.LegendFormat == "", "query "+q.RefID+" has no legend")
		// Without it, Grafana assumes a scrape interval of 15 s for a data source that does not
		// say its own, and then a minute may hold only one sample.
		add(strings.Contains(q.Expr, "$__rate_interval") && q.Interval != "1m", "query "+q.RefID+" shows nothing if Prometheus scrapes once a minute: it needs an interval of 1m")
	}
	return problems
}

func (p panel) overlaps(other panel) bool {
	a, b := p.GridPos, other.GridPos
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}
