package page

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestBrowser opens the page in Chromium. With AEGIS_TEST_SCREENSHOTS=DIR it leaves
// screenshots there.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test runs Chromium")
	}
	chromium := installed(t, "chromium", "chromium")
	node := installed(t, "node", "nodejs")
	for _, module := range []string{"playwright-core", "axe-core"} {
		if exec.Command(node, "-e", "require('"+module+"')").Run() != nil {
			missing(t, "Node.js' module "+module+" is missing; in any directory: npm install --ignore-scripts "+module+
				", and set NODE_PATH to its node_modules")
		}
	}
	screenshots := os.Getenv("AEGIS_TEST_SCREENSHOTS")
	if screenshots == "" {
		screenshots = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "testdata/browser.cjs",
		chromium, serve(t, sample()), serve(t, many(2500)), screenshots)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, name := range []string{"light", "dark", "phone"} {
		if _, err := os.Stat(filepath.Join(screenshots, name+".png")); err != nil {
			t.Error(err)
		}
	}
}

// serve serves the page of c, and a metric at every other path. It returns the page's URL.
func serve(t *testing.T, c Content) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x 1\n") })
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		v, err := ParseView(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		p := New(v, c)
		if err := p.Render(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		p.ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/"
}

// installed returns the path of a program, or skips the test and says which package of
// Debian has it.
func installed(t *testing.T, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, program+" is missing; on Debian: apt install "+debianPackage)
	}
	return path
}

// missing skips the test, or fails it with AEGIS_TEST_NO_SKIP=1.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
