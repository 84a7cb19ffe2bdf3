package targetsfile

import "testing"

func TestSettings(t *testing.T) {
	checkFaults(t, []faultCase{
		{
			"targets:\n  x:\n    timeout: soon\n    path: m\n",
			`line 3: target "x": timeout "soon"`,
		},
		{
			"targets:\n  x:\n    socket: run/x.sock\n",
			`line 3: target "x": socket "run/x.sock" is not an absolute path`,
		},
		{
			"targets:\n  x:\n    socket: /run/../x.sock\n",
			`line 3: target "x": socket "/run/../x.sock" is not an absolute path`,
		},
		{
			"targets:\n  x:\n    path: metrics\n",
			`line 3: target "x": path "metrics" does not begin with a slash`,
		},
		{
			"targets:\n  x:\n    path: \"/m HTTP/1.1\\r\\nHost: evil\"\n",
			`line 3: target "x": path "/m HTTP/1.1\r\nHost: evil" contains ' '`,
		},
		{
			"targets:\n  x:\n    path: /m?a=b\n",
			`line 3: target "x": path "/m?a=b" has a query; put it under params, as in params: {format: prometheus}`,
		},
		{"targets:\n  x:\n    path: /café\n", `line 3: target "x": path "/café" contains 'é'`},
		{
			"targets:\n  x:\n    path: /a%2\n",
			`line 3: target "x": path "/a%2": invalid URL escape "%2"; write %25 for a percent sign`,
		},
		{"targets:\n  x:\n    path: [a]\n", `line 3: target "x": path must be text, not a list`},
		{
			"targets:\n  x: {labels: {a: b}, timeout: [5s]}\n",
			`line 2: target "x": timeout must be a duration such as 5s, not a list`,
		},
		{
			"targets:\n  x:\n    labels:\n      a: b\n      c: [d]\n    timeout: 5s\n",
			`line 5: target "x": labels.c must be text, not a list`,
		},
		{
			"targets:\n  x: {enabled: \"yes\"}\n",
			`line 2: target "x": enabled must be true or false without quotes, not "yes"`,
		},
		{
			"targets:\n  x:\n    path: /x\n    enabled: off\n",
			`line 4: target "x": enabled must be true or false without quotes, not "off"`,
		},
		{
			"targets:\n  x:\n    protocol: gopher\n",
			`line 3: target "x": protocol "gopher" is not http, raw or varlink`,
		},
		{
			"targets:\n  x:\n    protocol: raw\n    path: /m\n",
			`line 4: target "x": protocol raw has no HTTP request and needs no path; remove one`,
		},
		{"targets:\n  x: {protocol: raw, host: a}\n", `protocol raw has no HTTP request and needs no host; remove one`},
		{"targets:\n  x: {params: {a: b}, protocol: varlink}\n", `protocol varlink has no HTTP request and needs no params; remove one`},
		{"targets:\n  x: {protocol: varlink, content_type: text/plain; version=0.0.4}\n", `needs no content_type; remove one`},
		{
			"targets:\n  x:\n    params:\n      format: [a, b]\n",
			`line 4: target "x": params.format has 2 values; write one, since service discovery can name only one`,
		},
		{"targets:\n  x: {params: {format: []}}\n", `params.format has 0 values; write one`},
		{"targets:\n  x: {params: {format: [{a: b}]}}\n", `params.format must be text, not a mapping`},
		{"targets:\n  x: {params: {format: }}\n", `params.format has no value; remove it or give it one`},
		{"targets:\n  x: {params: format=prometheus}\n", `params must be a mapping such as {format: prometheus}, not "format=prometheus"`},
		{"targets:\n  x: {host: ''}\n", `host "" is not a name or an address such as app.example.org or [::1]:8080`},
		{"targets:\n  x: {host: \"a\\r\\nX: y\"}\n", `host "a\r\nX: y" is not a name`},
		{"targets:\n  x: {host: 'a\\b'}\n", `host "a\\b" is not a name`},
		{"targets:\n  x: {host: http://a}\n", `host "http://a" is not a name`},
		{
			"targets:\n  x: {content_type: text/html}\n",
			`content_type "text/html" is not one of text/plain; version=0.0.4, text/plain; version=1.0.0, application/openmetrics-text; version=0.0.1,`,
		},
		{
			"targets:\n  x:\n    timeout: 5\n",
			`line 3: target "x": timeout "5" is not a duration such as 5s`,
		},
		{
			"targets:\n  x:\n    timeout: 1h\n",
			`timeout "1h" is not a duration such as 5s or 1m30s, from 100ms to 5m`,
		},
		{"targets:\n  x:\n    timeout: -5s\n", `timeout "-5s" is not a duration`},
		{
			"targets:\n  x:\n    timeout: 99ms\n",
			`timeout "99ms" is not a duration such as 5s or 1m30s, from 100ms to 5m`,
		},
		{
			"targets:\n  x:\n    labels:\n      ok: a\n      __address__: evil\n",
			`line 5: target "x": "__address__" is not a valid label name`,
		},
		{"targets:\n  x:\n    labels: {\"\": c}\n", `"" is not a valid label name`},
		{"targets:\n  x:\n    labels: {a-b: c}\n", `"a-b" is not a valid label name`},
		{
			"targets:\n  x:\n    enabled: perhaps\n",
			`line 3: target "x": enabled must be true or false without quotes, not "perhaps"`,
		},
		{
			"targets:\n  x:\n    labels:\n      team:\n",
			`line 4: target "x": labels.team has no value`,
		},
		{"targets:\n  x: {enabled: ~}\n", `enabled has no value`},
		{"targets:\n  b: {path: x}\n  a: {path: y}\n", `line 2: target "b": path "x"`},
		{
			"targets:\n  x:\n    timeout: 5\n    pfad: /m\n",
			`line 3: target "x": timeout "5" is not a duration`,
		},
	})
}

func TestAllow(t *testing.T) {
	checkFaults(t, []faultCase{
		{
			"targets:\n  x:\n    allow: {hosts: [a]}\n",
			`line 3: target "x": unknown key "hosts"; the keys of allow are addresses and certificates`,
		},
		{
			"targets:\n  x:\n    allow:\n      addresses:\n      - 10.0.0.1\n      - 10.0.0.256\n",
			`line 6: target "x": allow.addresses: "10.0.0.256" is neither`,
		},
		{
			"targets:\n  x:\n    allow:\n      certificates:\n      - a\n      - ''\n",
			`line 6: target "x": allow.certificates: the name of a certificate is empty`,
		},
		{
			"targets:\n  x:\n    allow: {addresses: ['10.0.0.1, 10.0.0.2']}\n",
			`"10.0.0.1, 10.0.0.2" is neither an address nor a prefix`,
		},
		{
			"targets:\n  x:\n    allow:\n      addresses: [10.0.0.300]\n",
			`line 4: target "x": allow.addresses: "10.0.0.300" is neither an address nor a prefix`,
		},
		{
			"targets:\n  x:\n    allow: {addresses: [10.0.0.1/8]}\n",
			`"10.0.0.1/8" has bits set after the length of the prefix; write 10.0.0.0/8,`,
		},
		{
			"targets:\n  x:\n    allow: {certificates: [\"\"]}\n",
			`the name of a certificate is empty`,
		},
		{
			"targets:\n  x:\n    path: /m\n    allow:\n      # addresses: [10.0.0.1]\n",
			`line 4: target "x": allow has no value; remove it or give it one`,
		},
		{
			"targets:\n  x:\n    path: /m\n    allow: {addresses: []}\n",
			`line 4: target "x": allow names no scraper; remove it to allow all scrapers, or write enabled: false to allow none`,
		},
		{
			"targets:\n  x:\n    allow:\n      certificates: [a]\n      addresses:\n",
			`line 5: target "x": allow.addresses has no value`,
		},
		{
			"targets:\n  x:\n    allow: []\n",
			`line 3: target "x": allow must be a mapping with the keys addresses and certificates, not a list`,
		},
		{
			"targets:\n  x:\n    allow: {certificates: [~]}\n",
			`line 3: target "x": an entry of allow.certificates has no value`,
		},
		{
			"targets:\n  x:\n    allow: {addresses: 10.0.0.1}\n",
			`line 3: target "x": allow.addresses must be a list such as [a, b], not "10.0.0.1"`,
		},
	})
}
