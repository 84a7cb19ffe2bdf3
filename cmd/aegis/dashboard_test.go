package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// dashboard is what nix/dashboard.json has. Grafana passes over what it does not
// know, so a misspelt key would go unnoticed: here it is an error.
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
	Targets                  []target
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

type target struct {
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

// TestDashboardForm checks what Grafana would show wrongly, or not at all,
// without a word.
func TestDashboardForm(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 41 || len(d.Panels) == 0 {
		t.Errorf("uid %q, title %q, schema version %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	chosen := datasource{"prometheus", "${datasource}"}
	for i, v := range d.Templating.List {
		if i == 0 && (v.Name != "datasource" || v.Type != "datasource" || string(v.Query) != `"prometheus"`) {
			t.Errorf("the first variable is %s, not the data source, which the others need", v.Name)
		}
		if i > 0 && (v.Type != "query" || v.Datasource != chosen || !v.Multi || !v.IncludeAll) {
			t.Errorf("variable %s is no choice of several, or all, from the chosen data source", v.Name)
		}
	}
	ids, titles := make(map[int]bool), make(map[string]bool)
	for i, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] || p.ID < 1 || p.Title == "" {
			t.Errorf("panel %d, %q: id or title are another's, or missing", p.ID, p.Title)
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
	add(!slices.Contains([]string{"stat", "table", "timeseries"}, p.Type), "of another type: "+p.Type)
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
		add(q.RefID == "" || refs[q.RefID], "queries without names of their own")
		refs[q.RefID] = true
		add(q.Expr == "", "query "+q.RefID+" is empty")
		add(p.Type == "timeseries" && q.Instant || p.Type != "timeseries" && !q.Instant, "query "+q.RefID+": over time where it is not shown over time, or the other way round")
		add(p.Type == "table" && q.Format != "table", "query "+q.RefID+" gives no table")
		add(p.Type != "table" && q.LegendFormat == "", "query "+q.RefID+" has no legend")
		// Without it, Grafana takes a data source that does not say its scrape
		// interval for one of 15 s, and rates over a minute find one sample in it.
		add(strings.Contains(q.Expr, "$__rate_interval") && q.Interval != "1m", "query "+q.RefID+" shows nothing where Prometheus scrapes once a minute: no interval of 1m")
	}
	return problems
}

func (p panel) overlaps(other panel) bool {
	a, b := p.GridPos, other.GridPos
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}
