package suggest

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"path", "params", "host", "content_type", "socket", "labels", "timeout", "config.file"}
	for word, want := range map[string]string{
		"param": "params", "parms": "params", "Host": "host", "hsot": "", "hosts": "host", "content-type": "content_type",
		"contentType": "content_type", "contenttyp": "content_type", "label": "labels", "timout": "timeout",
		"config-file": "config.file", "pfad": "", "x": "", "": "", "path:/x": "", "sockets": "socket",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
