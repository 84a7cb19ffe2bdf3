// Package limits has the limits on what Aegis' peers can make it spend, each with the reason
// for its number, and the types that enforce them.
//
// Both peers are taken to be hostile: the client, which may be anyone who reaches the port,
// and the service behind, which may be compromised.
package limits

import "time"

// Connections of clients.
const (
	// MaxConns is how many connections may be open. Prometheus keeps one for each target,
	// so a host with thousands of targets is served.
	MaxConns = 4096

	// MaxTLSConns is MaxConns for TLS: such a connection takes some 50 kB, and up to twice
	// MaxPreRequestBytes.
	MaxTLSConns = 1024

	// MaxPreRequestBytes is how much a client may send up to the end of its next request:
	// a TLS handshake, which is mostly its certificate, and a request head.
	MaxPreRequestBytes = 32 << 10

	// PreRequestReadSize is how much of that is read at once: mostly a complete request
	// or ClientHello.
	PreRequestReadSize = 4 << 10

	// MaxRequestHead is the size of a request head. Prometheus sends less than 1 KiB. This
	// leaves room for what a proxy adds, and MaxConns heads of this size still fit in the
	// MemoryMax= of the service unit.
	MaxRequestHead = 16 << 10

	// ReadHeaderTimeout is how long a client may take to send a request head: one packet
	// on any network that works.
	ReadHeaderTimeout = 10 * time.Second

	// ClientIdleTimeout is how long a kept connection may wait for its next request: twice
	// Prometheus' default scrape interval, so that the next scrape still finds it.
	ClientIdleTimeout = 2 * time.Minute

	// WriteTimeout is how long a client may take to read one of Aegis' own pages. For a
	// relayed scrape, the deadline of the scrape applies instead.
	WriteTimeout = 30 * time.Second

	// ErrorWriteTimeout is how long after a scrape's deadline Aegis still writes: long
	// enough to deliver the 504, too short to hold a buffer for a client that does not read.
	ErrorWriteTimeout = time.Second

	// HangUpCheckDelay is when Aegis first checks whether the client of a request has hung
	// up. Most requests end before, and a slow service is spared soon enough.
	HangUpCheckDelay = 50 * time.Millisecond

	// HangUpCheckInterval is the time between two such checks.
	HangUpCheckInterval = 250 * time.Millisecond

	// LingerTimeout is how long Aegis still reads from a connection that it has ended, so
	// that a client which is sending its request sees the reason and no reset: a round trip.
	LingerTimeout = 200 * time.Millisecond

	// NotSentLowat is how many bytes may wait in the kernel for a client to read what came
	// before them. A client that reads is never that far behind.
	NotSentLowat = 16 << 10

	// RecvBufSize is how many bytes may wait in the kernel for Aegis to read them; the
	// kernel doubles it. Requests are small, and are served one at a time.
	RecvBufSize = 16 << 10

	// MaxUndrained is how many clients may have a response left to read: over a long
	// distance, all that were requested at once. Together with the scrapes in flight they
	// fit in the MemoryMax= of the service unit.
	MaxUndrained = MaxScrapes

	// MaxAcceptRetryInterval is the longest wait before accepting is tried again: about as
	// long as a person waits for a page.
	MaxAcceptRetryInterval = time.Second
)

// Stopping and reloading.
const (
	// DrainIdleTimeout is how long a stop waits for clients to use their kept connections
	// once more, and be told that these close. Without it, requests that cross with the
	// closing are lost.
	DrainIdleTimeout = 500 * time.Millisecond

	// DrainTimeout is how long scrapes in flight may take to finish at a stop: half of
	// Prometheus' default timeout, so that those who wait in the kernel's queue for the
	// next process still get a response in time.
	DrainTimeout = 5 * time.Second

	// DrainFlushTimeout is how long the last response may take to reach its client after
	// its scrape has ended.
	DrainFlushTimeout = 100 * time.Millisecond

	// ReloadTimeout is how long a reload may take if the directory's file system hangs.
	ReloadTimeout = 3 * time.Second
)

// Aegis' own pages. Each response is in memory until its client has read it.
const (
	// MaxExpensive is how many expensive operations of a kind may run at once (see Expensive). Go
	// lets each run for 10 ms before a scrape gets its turn on the same processor.
	MaxExpensive = 2

	// QueueTimeout is how long a request waits at a limit before it gets 503. Most limits
	// free up in a fraction of that.
	QueueTimeout = time.Second

	// MaxPages is how many pages for people may be in flight: each takes some 15 MB while
	// it is rendered, and less than 1 MB until it is sent.
	MaxPages = 4

	// MaxPageRows is how many targets one page for people shows, and how many entries that
	// are not served.
	MaxPageRows = 1_000

	// MaxLists is how many responses of service discovery may be in flight: one of 10,000
	// targets takes a megabyte, and each Prometheus requests one a minute.
	MaxLists = 8

	// MaxOwnMetrics is how many responses with Aegis' own metrics may be in flight; for
	// each, Aegis reads the directory.
	MaxOwnMetrics = 8
)

// MemoryLimit is how many bytes the program uses before it collects garbage as often as it
// can: half the MemoryMax= of the service unit. The other half is for what is not garbage
// then, and for the kernel.
const MemoryLimit = 128 << 20

// Scrapes.
const (
	// DefaultScrapeTimeout is the deadline of a scrape whose client names none: the
	// default scrape_timeout of Prometheus.
	DefaultScrapeTimeout = 10 * time.Second

	// MinScrapeTimeout is the shortest deadline that a client or the targets file can set.
	// A shorter one would make healthy services look as if they failed.
	MinScrapeTimeout = 100 * time.Millisecond

	// MaxScrapeTimeout is the longest deadline that a client may name. Real ones are a few
	// minutes at most; a longer one counts as none.
	MaxScrapeTimeout = 5 * time.Minute

	// MaxScrapeTimeoutOffset is how long before the client's deadline Aegis' own ends, so
	// that the client still gets the reason; a tenth of the deadline if that is less.
	MaxScrapeTimeoutOffset = 500 * time.Millisecond

	// MaxScrapes is how many scrapes may be in flight. Each takes a connection on both
	// sides and some tens of kilobytes.
	MaxScrapes = 1024

	// MaxScrapesPerTarget is how many scrapes of one target may be in flight. A few
	// Prometheus servers and a person or two fit. If there are more, the service hangs,
	// and a queue would only take memory.
	MaxScrapesPerTarget = 16
)

// Responses of services.
const (
	// MaxResponseHead is the size of a response head. Services send less than 1 KiB; 64 KiB
	// is still small next to a body.
	MaxResponseHead = 64 << 10

	// MaxInterimResponses is how many 1xx responses may precede the final one. A single one
	// is rare.
	MaxInterimResponses = 5

	// MaxChunkExtensionBytes is how much chunk extensions and trailers may take in a body.
	// They mean nothing to a scrape, and no exporter sends any.
	MaxChunkExtensionBytes = 2 << 10

	// PeekTimeout is how long Aegis reads the body of a response that it does not pass on, and
	// MaxDiscardedBody how much of it: enough for any page of a service on the same machine, which may
	// crash if nobody reads it.
	PeekTimeout      = 100 * time.Millisecond
	MaxDiscardedBody = 1 << 20

	// BufferSize is the size of the buffers that responses are read into: most fit into
	// one, with their head.
	BufferSize = MaxResponseHead

	// MaxBufferedBody is the largest body that is held back until it is complete, so that
	// its failure can still become a status. Nine in ten services send less than 100 kB.
	// A larger body is streamed, which is also cheaper: it stays in the processor's cache.
	MaxBufferedBody = 256 << 10

	// MaxBufferedTotal is how much memory all bodies held back may take: well under the
	// MemoryMax= of the service unit.
	MaxBufferedTotal = 96 << 20

	// PipeSize is how much of a streamed body is between the two sockets at once. It stays
	// in the kernel; no more than a socket's buffer holds arrives at once.
	PipeSize = 256 << 10

	// MaxIdlePipes is how many pipes are kept for the next streamed bodies.
	MaxIdlePipes = 8

	// MaxDecompressed is how much of a gzipped body is decompressed to see whether it is
	// complete: some 100,000 series, and a twentieth of a second of work.
	MaxDecompressed = 16 << 20

	// MaxCheckBody is how much of a body aegis check parses: some 300,000 series.
	MaxCheckBody = 32 << 20

	// MaxLintBody is how much of a body aegis check lints, which can take a hundred times
	// as much memory.
	MaxLintBody = 8 << 20

	// MaxLintSeries is how many series of a metric are linted: promlint compares each with each.
	MaxLintSeries = 100
)

// Metrics of Varlink services, which become text in memory.
const (
	// MaxVarlinkScrapes is how many scrapes of one socket run at once: each can start a process there. One for
	// each of two Prometheus servers; others wait.
	MaxVarlinkScrapes = 2

	// MaxVarlinkMessage is the size of a message: systemd's are less than 1 KiB. It also bounds how deep it nests.
	MaxVarlinkMessage = 64 << 10

	// MaxVarlinkReply is the size of all messages of a scrape, and MaxVarlinkValues how many there are: those of
	// 4,000 units. systemd sends seven for a unit, of 120 bytes each.
	MaxVarlinkReply  = 4 << 20
	MaxVarlinkValues = 30_000

	// VarlinkPause follows each BufferSize of a reply that is larger than VarlinkPauseAfter, as none of systemd's
	// is. They take 2 ms to parse, and Go looks for what others have sent only when nothing else can run.
	VarlinkPause      = 5 * time.Millisecond
	VarlinkPauseAfter = 256 << 10

	// MaxVarlinkFamilies is how many names the metrics of a socket may have: some 60 in systemd.
	MaxVarlinkFamilies = 500

	// MaxVarlinkFields is how many labels a value may have: systemd sends one or two.
	MaxVarlinkFields = 16

	// MaxVarlinkText is the length of a name, and of the value of a label: a unit's name has up to 255 bytes.
	MaxVarlinkText = 256

	// MaxVarlinkServices is how many sockets' descriptions are kept: well above the eight of systemd. Each takes
	// some kilobytes, and half a megabyte if its service is hostile.
	MaxVarlinkServices = 128
)

// Passwords.
const (
	// PasswordQueueTimeout is how long a password waits to be hashed: half of Prometheus'
	// default timeout, so that time is left for the scrape. Hashing takes a twentieth of a
	// second, so a hundred clients get their turn.
	PasswordQueueTimeout = 5 * time.Second

	// MaxWrongPasswords is how many different wrong passwords one source may try in
	// WrongPasswordInterval: enough for people who mistype, and useless for guessing.
	MaxWrongPasswords     = 10
	WrongPasswordInterval = 10 * time.Second

	// MaxCachedPasswords is how many right passwords are remembered, and how many wrong
	// ones: several for each Prometheus.
	MaxCachedPasswords = 100
)

// Connections to services, and the directory of sockets.
const (
	// MaxBackendConnAge is how long a connection to a service serves scrapes. A service that is stopping
	// may finish its connections first, while another process has taken over its socket.
	MaxBackendConnAge = time.Second

	// BackendIdleTimeout is how long an idle connection to a service is kept. Under load the
	// next scrape finds it, and costs half. Many servers have few workers, or one, which an
	// idle connection occupies: their users must not wait for Aegis to hang up.
	BackendIdleTimeout = 25 * time.Millisecond

	// MaxBlockingFSCalls is how many calls to the file system may be in flight. Each takes
	// microseconds unless the file system hangs: then it holds a thread, and the service
	// unit allows 256.
	MaxBlockingFSCalls = 64

	// ListTimeout is how long reading the directory may take: a hundred thousand entries
	// take a tenth of it.
	ListTimeout = 3 * time.Second

	// ReadDirBatchSize is how many entries of the directory are read at once. What the
	// kernel says about them takes more memory than what is kept.
	ReadDirBatchSize = 1024
)

// The command aegis check.
const (
	// SystemctlTimeout is how long it waits for systemctl to describe the service: for a hint only.
	SystemctlTimeout = time.Second

	// ProgressInterval is how often it says how far it is: when people begin to wonder.
	ProgressInterval = time.Second
)

// What Aegis remembers about targets.
const (
	// MaxTargets is how many targets have a record and series of their own. The rest are
	// counted together: a service that makes sockets without end must not fill the memory.
	MaxTargets = 10_000

	// MaxTargetsFileSize is the size of a targets file: some hundred bytes for each of MaxTargets.
	MaxTargetsFileSize = 4 << 20

	// ForgetTimeout is how long the series of a target that is gone are kept: long enough
	// for an alert on the last of them to fire.
	ForgetTimeout = time.Hour

	// ReconcileInterval is how often the records are compared with the directory, to see
	// which targets are new or gone.
	ReconcileInterval = 10 * time.Second

	// StatusInterval is the least time between two updates of the status line.
	StatusInterval = 500 * time.Millisecond

	// MaxStatusTargets is how many failing targets the status line names.
	MaxStatusTargets = 3
)

// The log.
const (
	// StateLogInterval is the least time between two lines about one target, so that a
	// flapping service does not flood the journal.
	StateLogInterval = time.Second

	// LimitLogInterval is the least time between two lines about one limit (see LogLimiter).
	LimitLogInterval = time.Minute

	// MaxLogQueue is how many lines may wait to be written before more are dropped: those
	// of a second in which every target of a large host fails.
	MaxLogQueue = 1000

	// LogFlushTimeout is how long the program waits at its end for the log to be written.
	LogFlushTimeout = time.Second
)
