// Package web is every URL there is: the route table, the relay of a scrape,
// service discovery, the page for people, and Aegis' own metrics.
//
// It maps a request to a name, a name to a socket (package socketdir), a socket
// to an answer (package scrape), and each failure to a status, in one table. It
// never reads flags and knows nothing of the service manager.
//
// # Security
//
// Whoever reaches a listener is taken to be hostile. They choose a name, a query
// and a deadline; nothing else of theirs gets further than here but the three
// fields with which formats are negotiated (package scrape), and the name only
// after it was checked (package socketdir). A target can be kept from them by their
// address or certificate, which is asked before anything is looked at, and then it
// is in no list and on no page of theirs either. What they can use up is bounded
// in number, size and time: connections, requests, lists, pages, series (package
// limits); and a connection that always has more to say waits for the others
// (package http1). With TLS or a password most of that is bounded before anybody is let
// in, too: what a connection may send without a request, and how many of those that
// were not let in keep their place when another comes.
//
// Names of sockets and what services say of themselves are hostile text, too: on
// the page html/template escapes it, and a policy lets nothing run there but the
// page's own; in lines for people it is made printable.
package web
