// Package scrape performs one scrape of one socket: GET /metrics in HTTP/1.1
// (RFC 9110, RFC 9112) over a pooled Unix connection, with a deadline and a
// closed set of failures.
//
// It is given a socket to dial and never sees a route, a folder or the service
// manager. What the service sends is hostile: heads, interim responses, time
// and memory are bounded (package limits), and an answer is whole or an error.
package scrape
