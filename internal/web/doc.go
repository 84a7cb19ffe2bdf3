// Package web is every URL there is: the route table, the relay of a scrape,
// service discovery, the page for people, and Aegis' own metrics.
//
// It maps a request to a name, a name to a socket (package sockdir), a socket
// to an answer (package scrape), and each failure to a status, in one table. It
// never reads flags and knows nothing of the service manager.
package web
