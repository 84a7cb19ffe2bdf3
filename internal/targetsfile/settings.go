package targetsfile

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

// The keys of settings, for faults.
const (
	targetKeys = "socket, protocol, path, params, host, content_type, labels, timeout, enabled and allow"
	allowKeys  = "addresses and certificates"
)

// settings has the keys that a target may have, with the kind of each value and what sets it.
var settings = map[string]struct {
	kind yaml.Kind
	want string // the kind, for faults
	set  func(*Target, *yaml.Node) *Fault
}{
	"socket":       {yaml.ScalarNode, "text", (*Target).setSocket},
	"protocol":     {yaml.ScalarNode, "text", (*Target).setProtocol},
	"path":         {yaml.ScalarNode, "text", (*Target).setPath},
	"params":       {yaml.MappingNode, "a mapping such as {format: prometheus}", (*Target).setParams},
	"host":         {yaml.ScalarNode, "text", (*Target).setHost},
	"content_type": {yaml.ScalarNode, "text", (*Target).setContentType},
	"labels":       {yaml.MappingNode, "a mapping of names to values", (*Target).setLabels},
	"timeout":      {yaml.ScalarNode, "a duration such as 5s", (*Target).setTimeout},
	"enabled":      {yaml.ScalarNode, "true or false", (*Target).setEnabled},
	"allow":        {yaml.MappingNode, "a mapping with the keys " + allowKeys, (*Target).setAllow},
}

func (t *Target) setSocket(value *yaml.Node) *Fault {
	t.Socket = value.Value
	if !filepath.IsAbs(t.Socket) || filepath.Clean(t.Socket) != t.Socket {
		return wrongValue(value.Line, "socket %q is not an absolute path without . and .. in it, "+
			"such as /run/rpm-ostreed.promsock", t.Socket)
	}
	return nil
}

func (t *Target) setPath(value *yaml.Node) *Fault {
	t.Path = value.Value
	if !strings.HasPrefix(t.Path, "/") {
		return wrongValue(value.Line, "path %q does not begin with a slash", t.Path)
	}
	if strings.Contains(t.Path, "?") {
		return wrongValue(value.Line, "path %q has a query; put it under params, as in params: {format: prometheus}", t.Path)
	}
	for _, c := range t.Path {
		// RFC 3986, section 3.3, lists what a path may contain.
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`"#<>?\^{|}`+"`", c) {
			return wrongValue(value.Line, "path %q contains %q; percent-encode it", t.Path, c)
		}
	}
	if _, err := url.PathUnescape(t.Path); err != nil {
		return wrongValue(value.Line, "path %q: %v; write %%25 for a percent sign", t.Path, err)
	}
	return nil
}

func (t *Target) setProtocol(value *yaml.Node) *Fault {
	t.Protocol = value.Value
	if !slices.Contains([]string{scrape.HTTP, scrape.Raw, scrape.Varlink}, t.Protocol) {
		return wrongValue(value.Line, "protocol %q is not http, raw or varlink", t.Protocol)
	}
	return nil
}

func (t *Target) setParams(value *yaml.Node) *Fault {
	t.Params = make(map[string]string)
	for key, param := range entries(value) {
		if key.Value == "" {
			return wrongValue(key.Line, "params has an empty name")
		}
		name := "params." + key.Value
		if param.Kind == yaml.SequenceNode { // as Prometheus writes them
			if n := len(param.Content); n != 1 {
				return wrongValue(param.Line, "%s has %d values; write one, since service discovery can name only one", name, n)
			}
			param = param.Content[0]
		}
		if fault := expect(param, yaml.ScalarNode, name, "text"); fault != nil {
			return fault
		}
		t.Params[key.Value] = param.Value
	}
	return nil
}

var hostSyntax = regexp.MustCompile(`^[\w.:\[\]-]+$`)

func (t *Target) setHost(value *yaml.Node) *Fault {
	t.Host = value.Value
	if !hostSyntax.MatchString(t.Host) {
		return wrongValue(value.Line, "host %q is not a name or an address such as app.example.org or [::1]:8080", t.Host)
	}
	return nil
}

// contentTypes are the types of text that Prometheus reads.
var contentTypes = []string{
	"text/plain; version=0.0.4", "text/plain; version=1.0.0",
	"application/openmetrics-text; version=0.0.1", "application/openmetrics-text; version=1.0.0",
}

func (t *Target) setContentType(value *yaml.Node) *Fault {
	t.ContentType = value.Value
	if !slices.Contains(contentTypes, t.ContentType) {
		return wrongValue(value.Line, "content_type %q is not one of %s", t.ContentType, strings.Join(contentTypes, ", "))
	}
	return nil
}

func (t *Target) setTimeout(value *yaml.Node) *Fault {
	timeout, err := time.ParseDuration(value.Value)
	if err != nil || timeout < limits.MinScrapeTimeout || timeout > limits.MaxScrapeTimeout {
		return wrongValue(value.Line, "timeout %q is not a duration such as 5s or 1m30s, from %v to %gm",
			value.Value, limits.MinScrapeTimeout, limits.MaxScrapeTimeout.Minutes())
	}
	t.Timeout = timeout
	return nil
}

func (t *Target) setLabels(value *yaml.Node) *Fault {
	t.Labels = make(map[string]string)
	for name, text := range entries(value) {
		// Older versions of Prometheus accept only legacy names.
		if !model.LegacyValidation.IsValidLabelName(name.Value) || strings.HasPrefix(name.Value, "__") {
			return wrongValue(name.Line, "%q is not a valid label name, which has letters, digits and _, "+
				"and does not begin with a digit or __", name.Value)
		}
		if fault := expect(text, yaml.ScalarNode, "labels."+name.Value, "text"); fault != nil {
			return fault
		}
		t.Labels[name.Value] = text.Value
	}
	return nil
}

func (t *Target) setEnabled(value *yaml.Node) *Fault {
	if value.Tag != "!!bool" {
		return wrongValue(value.Line, "enabled must be true or false without quotes, not %q", value.Value)
	}
	t.Disabled = !strings.EqualFold(value.Value, "true")
	return nil
}

func (t *Target) setAllow(value *yaml.Node) *Fault {
	t.Allow = new(Allow)
	for key, list := range entries(value) {
		if key.Value != "addresses" && key.Value != "certificates" {
			return unknownKey(key, "the keys of allow are "+allowKeys, "addresses", "certificates")
		}
		name := "allow." + key.Value
		if fault := expect(list, yaml.SequenceNode, name, "a list such as [a, b]"); fault != nil {
			return fault
		}
		for _, entry := range list.Content {
			if fault := expect(entry, yaml.ScalarNode, "an entry of "+name, "text"); fault != nil {
				return fault
			}
			if key.Value == "certificates" {
				if entry.Value == "" {
					return wrongValue(entry.Line, "%s: the name of a certificate is empty; "+
						"write its common name or a DNS name", name)
				}
				t.Allow.Certificates = append(t.Allow.Certificates, entry.Value)
				continue
			}
			prefix, err := ParsePrefix(entry.Value)
			if err != nil {
				return wrongValue(entry.Line, "%s: %v", name, err)
			}
			t.Allow.Addresses = append(t.Allow.Addresses, prefix)
		}
	}
	if len(t.Allow.Addresses)+len(t.Allow.Certificates) == 0 {
		return wrongValue(value.Line, "allow names no scraper; remove it to allow all scrapers, "+
			"or write enabled: false to allow none")
	}
	return nil
}

// ParsePrefix parses an address or a prefix, as in the flag -allow and in the targets file. An
// IPv4 address that is written as IPv6 becomes IPv4.
func ParsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix such as 10.100.0.0/24 or fda2::/16", text)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("%q has bits set after the length of the prefix; write %v, or the address alone",
			text, p.Masked())
	}
	return p, nil
}
