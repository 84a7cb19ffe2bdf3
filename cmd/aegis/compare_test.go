package main

import (
	"fmt"
	"slices"
	"testing"
)

// BenchmarkCompare measures the processor time of a scrape, compared with nginx and HAProxy if
// those are installed. It loads them in turns, a second each for every count of -benchtime,
// and prints the medians. A ratio under 1 means that Aegis is cheaper.
//
//	go test -run '^$' -bench Compare -benchtime 5x ./cmd/aegis
//
// nginx-any maps any name to its socket, as Aegis does. nginx-pinned and haproxy have the
// socket in their configuration and keep connections to it, which is less than Aegis' job.
func BenchmarkCompare(b *testing.B) {
	aegis := buildProgram(b, b.TempDir(), "aegis", ".")
	for _, payload := range []payload{{1500, "length"}, {30_000, "chunked"}, {100_000, "length"}, {1_000_000, "chunked"}, {1_000_000, "one-chunk"}, {5_000_000, "length"}} {
		b.Run(fmt.Sprintf("%dB-%s", payload.size, payload.framing), func(b *testing.B) {
			dir := sampleServices(b, 1, payload)
			proxies := startProxies(b, aegis, dir, "aegis", "nginx-any", "nginx-pinned", "haproxy")
			costs := make(map[string][]float64)
			for b.Loop() {
				for _, p := range proxies {
					costs[p.name] = append(costs[p.name], p.cost(b, 4, 1))
				}
			}
			reportCosts(b, proxies, costs)
		})
	}
}

// BenchmarkDial measures the processor time of a scrape that has to connect to its service, as every
// scrape does on a host that is not under load, compared with nginx, which always connects. There
// are so many sockets that Aegis has closed its connection to each before it is scraped again.
//
//	go test -run '^$' -bench Dial -benchtime 5x ./cmd/aegis
func BenchmarkDial(b *testing.B) {
	const sockets = 4000
	aegis := buildProgram(b, b.TempDir(), "aegis", ".")
	for _, payload := range []payload{{1500, "length"}, {30_000, "chunked"}, {100_000, "length"}, {1_000_000, "chunked"}} {
		b.Run(fmt.Sprintf("%dB-%s", payload.size, payload.framing), func(b *testing.B) {
			dir := sampleServices(b, sockets, payload)
			proxies := startProxies(b, aegis, dir, "aegis", "nginx-any")
			proxies[0].cost(b, 4, sockets) // Aegis logs the first scrape of each target.
			costs := make(map[string][]float64)
			for b.Loop() {
				for _, p := range proxies {
					costs[p.name] = append(costs[p.name], p.cost(b, 4, sockets))
				}
			}
			reportCosts(b, proxies, costs)
		})
	}
}

// BenchmarkGrowth measures how the processor time of a scrape and resident memory grow with
// the number of sockets and of scrapers, compared with nginx.
//
//	go test -run '^$' -bench Growth -benchtime 3x ./cmd/aegis
func BenchmarkGrowth(b *testing.B) {
	aegis := buildProgram(b, b.TempDir(), "aegis", ".")
	for _, sockets := range []int{1, 100, 1000, 5000} {
		dir := sampleServices(b, sockets, payload{30_000, "chunked"})
		for _, scrapers := range []int{4, 256} {
			if sockets == 1 && scrapers > 4 {
				continue // They would get 503.
			}
			b.Run(fmt.Sprintf("sockets-%d/scrapers-%d", sockets, scrapers), func(b *testing.B) {
				proxies := startProxies(b, aegis, dir, "aegis", "nginx-any")
				costs := make(map[string][]float64)
				for b.Loop() {
					for _, p := range proxies {
						costs[p.name] = append(costs[p.name], p.cost(b, scrapers, sockets))
					}
				}
				for _, p := range proxies {
					b.ReportMetric(p.residentMiB(b), p.name+"-MiB")
				}
				reportCosts(b, proxies, costs)
			})
		}
	}
}

// BenchmarkMemory measures resident memory with 5,000 sockets: idle, and after 1,000 of them
// were scraped over one connection each, which stay open.
//
//	go test -run '^$' -bench Memory -benchtime 1x ./cmd/aegis
func BenchmarkMemory(b *testing.B) {
	aegis := buildProgram(b, b.TempDir(), "aegis", ".")
	dir := sampleServices(b, 5000, payload{30_000, "chunked"})
	for b.Loop() {
		for _, p := range startProxies(b, aegis, dir, "aegis", "nginx-any") {
			b.ReportMetric(p.residentMiB(b), p.name+"-idle-MiB")
			for i := range 1000 {
				s := p.dial(b)
				defer s.Close()
				if err := s.scrape(i); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(p.residentMiB(b), p.name+"-kept-MiB")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// reportCosts reports the median cost of Aegis, the first of the proxies, and its ratio to that of
// each other one.
func reportCosts(b *testing.B, proxies []*proxy, costs map[string][]float64) {
	own := median(costs["aegis"])
	b.ReportMetric(own, "aegis-µs/scrape")
	for _, p := range proxies[1:] {
		b.ReportMetric(own/median(costs[p.name]), "aegis/"+p.name)
	}
	b.ReportMetric(0, "ns/op")
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
