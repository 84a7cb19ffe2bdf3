package targetsfile

import (
	"encoding/json"
	"os"
	"testing"
)

// TestNixTargets gives the targets of the NixOS module's evaluation tests to the parser. The
// module refuses some of them (nix/target-problems.nix), and the parser must refuse the same: what
// evaluates must work.
func TestNixTargets(t *testing.T) {
	text, err := os.ReadFile("../../nix/tests/eval/targets.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Targets json.RawMessage
		Refused string // the NixOS option that is wrong, or empty
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, tt := range cases {
		_, err := parse([]byte(`{"targets": ` + string(tt.Targets) + "}"))
		if (err != nil) != (tt.Refused != "") {
			t.Errorf("%s: %v; NixOS refuses %q", tt.Targets, err, tt.Refused)
		}
	}
}
