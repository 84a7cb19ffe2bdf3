package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// The kinds of YAML in the documents.
const (
	prometheusFile = "prometheus.yml"
	targetsFile    = "targets.yml"
	webFile        = "web.yml"
	scrapeSettings = "part of a scrape configuration"
)

// yamlKind returns what kind of file the YAML in text is, or part of, and its content. The kind
// is empty if text is something else.
func yamlKind(text string) (kind string, content map[string]any) {
	if yaml.Unmarshal([]byte(text), &content) != nil {
		return "", nil
	}
	for key, kind := range map[string]string{
		"scrape_configs": prometheusFile, "rule_files": prometheusFile,
		"targets":           targetsFile,
		"tls_server_config": webFile, "basic_auth_users": webFile,
		"static_configs": scrapeSettings, "http_sd_configs": scrapeSettings, "relabel_configs": scrapeSettings,
	} {
		if _, ok := content[key]; ok {
			return kind, content
		}
	}
	return "", content
}

// Every file of YAML in the documents is valid, alone, and together with those of its kind in
// the same document. A second job or target of the same name replaces the first there.
func TestExampleYAML(t *testing.T) {
	t.Parallel()
	checks := map[string]func(t *testing.T, text string) error{
		prometheusFile: checkPrometheusFile(t), targetsFile: checkTargetsFile, webFile: checkWebFile,
	}
	joined := make(map[[2]string]map[string]any) // by document and kind
	tried := make(map[string]int)
	for _, b := range blocks(t) {
		kind, content := yamlKind(b.text)
		if kind == "" {
			if b.language == "yaml" {
				t.Errorf("%s: this is neither for Prometheus nor a targets file nor a web file:\n%s", b.document, b.text)
			}
			continue
		}
		if kind == scrapeSettings {
			kind, content = prometheusFile, addToJob(joined[[2]string{b.document, prometheusFile}], content)
			b.text = marshal(t, content)
		}
		if err := checks[kind](t, b.text); err != nil {
			t.Errorf("%s: %v\n%s", b.document, err, b.text)
		}
		key := [2]string{b.document, kind}
		joined[key] = join(joined[key], content)
		tried[kind]++
	}
	for key, content := range joined {
		if key[1] == webFile { // Its parts are alternatives.
			continue
		}
		if err := checks[key[1]](t, marshal(t, content)); err != nil {
			t.Errorf("all of %s in %s: %v\n%s", key[1], key[0], err, marshal(t, content))
		}
	}
	t.Log(tried)
}

// join returns the content of a file with what a and b have.
func join(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	if all == nil {
		all = make(map[string]any)
	}
	for key, value := range b {
		switch value := value.(type) {
		case []any:
			before, _ := all[key].([]any)
			byJob := make(map[any]bool)
			for _, element := range value {
				byJob[jobName(element)] = true
			}
			var list []any
			for _, element := range before {
				if name := jobName(element); name == nil || !byJob[name] {
					list = append(list, element)
				}
			}
			all[key] = append(list, value...)
		case map[string]any:
			before, _ := all[key].(map[string]any)
			both := maps.Clone(before)
			if both == nil {
				both = make(map[string]any)
			}
			maps.Copy(both, value)
			all[key] = both
		default:
			all[key] = value
		}
	}
	return all
}

// jobName returns the name of a scrape configuration, or nil.
func jobName(element any) any {
	config, _ := element.(map[string]any)
	return config["job_name"]
}

// addToJob returns prometheus with settings added to its last scrape configuration.
func addToJob(prometheus, settings map[string]any) map[string]any {
	config := map[string]any{"job_name": "example"}
	if configs, _ := prometheus["scrape_configs"].([]any); len(configs) > 0 {
		config = maps.Clone(configs[len(configs)-1].(map[string]any))
	}
	maps.Copy(config, settings)
	return map[string]any{"scrape_configs": []any{config}}
}

func marshal(t *testing.T, content map[string]any) string {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkPrometheusFile returns a function that has promtool check a configuration of Prometheus.
func checkPrometheusFile(t *testing.T) func(t *testing.T, text string) error {
	promtool := installed(t, "promtool", "prometheus")
	return func(t *testing.T, text string) error {
		dir := t.TempDir()
		text = provideFiles(t, dir, text)
		out, err := exec.Command(promtool, "check", "config", writeFile(t, dir, prometheusFile, text)).CombinedOutput()
		if err != nil {
			t.Logf("promtool: %s", out)
		}
		return err
	}
}

func checkTargetsFile(t *testing.T, text string) error {
	_, err := targetsfile.Read(writeFile(t, t.TempDir(), targetsFile, text))
	return err
}

func checkWebFile(t *testing.T, text string) error {
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte(rightPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`\$2[aby]\$\d+\$\.\.\.|\$2[aby]\$\d+\$…`).ReplaceAllLiteralString(text, string(hash))
	_, err = auth.ReadFile(writeFile(t, dir, webFile, provideFiles(t, dir, text)))
	return err
}

// provideFiles makes the files in dir that the YAML in text names: certificates and their keys,
// passwords and rules. It returns text with paths in dir instead of absolute ones.
func provideFiles(t *testing.T, dir, text string) string {
	t.Helper()
	ca := newAuthority(t, dir, "trusted")
	ca.issue(t, dir, "issued")
	for key, source := range map[string]string{
		"ca_file": "trusted.pem", "client_ca_file": "trusted.pem", "cert_file": "issued.pem", "key_file": "issued.key",
		"password_file": "trusted.pem", "credentials_file": "trusted.pem",
		"rule_files": filepath.Join(root, "nix/alerts.json"),
	} {
		if !filepath.IsAbs(source) && key != "rule_files" {
			source = filepath.Join(dir, source)
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range words(text, `\b`+key+`:\s*(?:- |\[)?"?([^\s",\]}]+)`) {
			inDir := filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(inDir), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(inDir, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if filepath.IsAbs(path) {
				text = strings.ReplaceAll(text, path, inDir)
			}
		}
	}
	return text
}
