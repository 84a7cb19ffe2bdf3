// Package scrape performs one scrape of one socket: GET /metrics in HTTP/1.1
// (RFC 9110, RFC 9112) over a pooled Unix connection, with a deadline and a
// closed set of failures.
//
// It is given a socket to dial and never sees a route, a folder or the service
// manager.
//
// # Security
//
// What the service sends is taken to be hostile. Heads, interim responses, time
// and memory are bounded (package limits), and memory is taken as bytes come, not
// as they are announced. What can be read in two ways is refused, since who reads
// it next may read it in the other: two lengths, a length and chunks, folded
// lines, control characters. An answer is whole or an error; status, media type,
// encoding and body are all of it that goes on. Bytes that come after an answer
// spoil the connection, so that they never begin another's; a connection belongs
// to the inode of one socket, so that none leads to a service that took the place
// of another.
package scrape
