package web

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestBrowser opens the page in a real Chromium. With AEGIS_TEST_SCREENSHOTS=FOLDER
// it leaves there how the page looks.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test runs Chromium")
	}
	chromium := installed(t, "chromium")
	node := installed(t, "nodejs")
	for _, module := range []string{"playwright-core", "axe-core"} {
		if exec.Command(node, "-e", "require('"+module+"')").Run() != nil {
			missing(t, "Node.js' "+module+" is missing; in any folder: npm install --ignore-scripts "+module+", and put its node_modules into NODE_PATH")
		}
	}
	a := startSample(t)
	screenshots := os.Getenv("AEGIS_TEST_SCREENSHOTS")
	if screenshots == "" {
		screenshots = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, "testdata/browser.cjs", chromium, "http://"+a.addr+"/", screenshots).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, look := range []string{"light", "dark", "phone"} {
		if _, err := os.Stat(filepath.Join(screenshots, look+".png")); err != nil {
			t.Error(err)
		}
	}
}

// installed returns the path of the program of a Debian package.
func installed(t *testing.T, debianPackage string) string {
	t.Helper()
	name := map[string]string{"nodejs": "node"}[debianPackage]
	if name == "" {
		name = debianPackage
	}
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name+" is missing; on Debian: apt install "+debianPackage)
	}
	return path
}

// missing ends a test that cannot run for want of what.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
