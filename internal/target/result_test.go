package target

import (
	"errors"
	"fmt"
	"testing"
)

func TestResultOf(t *testing.T) {
	for _, r := range results[1:] { // without that of nil
		err := fmt.Errorf("scraping: %w", fmt.Errorf("%w: do this", r.err))
		if got := ResultOf(err); got != r.result {
			t.Errorf("%v is %s, want %s", err, got, r.result)
		}
		if got := Sentinel(err); got != r.err {
			t.Errorf("the sentinel of %v is %v", err, got)
		}
		if got := Detail(fmt.Errorf("%w: do this", r.err)); got != "do this" {
			t.Errorf("the detail of %v is %q", err, got)
		}
	}
	unknown := errors.New("unknown")
	if ResultOf(nil) != OK || ResultOf(unknown) != Invalid || Sentinel(unknown) != unknown || Detail(unknown) != "unknown" {
		t.Errorf("nil is %s, an unknown error %s", ResultOf(nil), ResultOf(unknown))
	}
}
