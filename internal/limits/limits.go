// Package limits names every bound Aegis sets on what its peers can make it
// spend, each with the reason for its number. It knows numbers only.
//
// Both peers are taken to be hostile: the scraper, which may be anyone who
// reaches the port, and the service behind, which may be compromised.
package limits

import "time"

// What a scraper can make Aegis hold.
const (
	// MaxRequestHead is the most bytes of a request head. Prometheus sends under
	// 1 KiB; 16 KiB leaves room for a proxy's additions, and MaxConns that send that
	// much each still fit in the MemoryMax= of the service unit.
	MaxRequestHead = 16 << 10

	// ReadHeaderTimeout is how long a client may take over a request head.
	// A head is one packet on any working network.
	ReadHeaderTimeout = 10 * time.Second

	// ClientIdleTimeout is how long a client's kept connection may wait for its next
	// request: twice Prometheus' default scrape interval of a minute, so that
	// the connection is still there for the next scrape.
	ClientIdleTimeout = 2 * time.Minute

	// WriteTimeout is how long a client may take to read one of Aegis' own
	// pages. A relayed scrape has the scrape's deadline instead.
	WriteTimeout = 30 * time.Second

	// HTTP2StallTimeout is how long a connection over HTTP/2 may take nothing at all of what is
	// sent on it. Its scrapes cannot end at their deadlines before that, since what ends
	// one is sent, too.
	HTTP2StallTimeout = 10 * time.Second

	// ErrorWriteTimeout is how long after a scrape's deadline Aegis still tries to
	// write: enough to deliver the 504, too little to hold a buffer for a
	// client that does not read.
	ErrorWriteTimeout = time.Second

	// HangUpCheckDelay is how long a request may take until its scraper is watched for
	// hanging up: most are answered before, and a service that is slow is spared
	// soon enough.
	HangUpCheckDelay = 50 * time.Millisecond

	// HangUpCheckInterval is how often it is looked for that in requests that net/http has.
	HangUpCheckInterval = 250 * time.Millisecond

	// DrainIdleTimeout is how long a stop waits for clients to use their kept
	// connections once more, and be told that they close. Without it the
	// requests that cross with the closing are lost.
	DrainIdleTimeout = 500 * time.Millisecond

	// DrainTimeout is how long scrapes under way may take to finish at a stop: half
	// of Prometheus' default timeout, so that who waits in the kernel's queue
	// for the next process is still answered in time.
	DrainTimeout = 5 * time.Second

	// ReloadTimeout is how long a reload may take, if the folder's file system hangs.
	ReloadTimeout = 3 * time.Second

	// DrainFlushTimeout is how long the last answer may take to reach its client when
	// its scrape has ended.
	DrainFlushTimeout = 100 * time.Millisecond

	// LingerTimeout is how long Aegis still reads from a connection that it has ended: who
	// sends its request as that happens is to see the reason, not a reset. That takes
	// a round trip.
	LingerTimeout = 200 * time.Millisecond

	// MaxConns is how many connections of scrapers may be open. Prometheus keeps
	// one for each target; a host with thousands is served. One more ends one
	// of which no request was let in, or is closed if there is none.
	MaxConns = 4096

	// MaxTLSConns is how many may be open with TLS, likewise: each takes some 50 kB
	// then, and up to twice MaxPreRequestBytes.
	MaxTLSConns = 1024

	// MaxPreRequestBytes is how much a connection with TLS or a password may send before its next
	// request, that included: to begin TLS, of which a certificate is most, and a head.
	MaxPreRequestBytes = 32 << 10

	// PreRequestReadSize is how much of that is read at once: all of a request or the beginning of
	// TLS, mostly.
	PreRequestReadSize = 4 << 10

	// UnaskedPart is which part of what it is sent it may send beside that. HTTP/2 has
	// who takes four kilobytes say that in some 80 bytes.
	UnaskedPart = 16

	// MaxStreams is how many requests over HTTP/2 may be under way, or wait for their
	// scraper to take the answer: all scrapes that may be, and as many of the rest.
	// Each takes some 16 kB.
	MaxStreams = 2 * MaxScrapes

	// MaxStreamsPerConn is how many of these may be on one connection.
	MaxStreamsPerConn = 100

	// NotSentLowat is how much may wait in the kernel until a scraper takes what was sent
	// before. Who reads is never that far behind; who does not costs the kernel this
	// much and a packet.
	NotSentLowat = 16 << 10

	// RecvBufSize is how much may wait in the kernel until Aegis reads it, twice that with what
	// the kernel adds: requests are small, and one at a time is answered.
	RecvBufSize = 16 << 10

	// MaxUndrained is how many connections may be open whose scrapers have an answer to
	// take: over a long way, all that were asked for at once. With those whose scrapes
	// are under way, they fit in the MemoryMax= of the service unit.
	MaxUndrained = MaxScrapes

	// MaxAcceptRetryInterval is the longest wait until accepting a connection is tried
	// again: about how long a person waits for a page.
	MaxAcceptRetryInterval = time.Second

	// MaxPageRows is how many sockets the page for people shows, and how many entries
	// that are none.
	MaxPageRows = 10_000

	// MaxPages is how many pages for people may be on their way at once: one of
	// 10,000 sockets takes some 10 MB until it is sent.
	MaxPages = 4

	// QueueTimeout is how long a scrape or a request for a page waits while there are as
	// many as may be: for most it is over in a fraction of that.
	QueueTimeout = time.Second

	// MaxLists is how many answers of discovery may be on their way at once: one of
	// 10,000 sockets takes a megabyte until it is read, and each Prometheus asks
	// once a minute.
	MaxLists = 8

	// MaxOwnMetrics is how many collections of Aegis' own metrics may run
	// at once; each reads the folder.
	MaxOwnMetrics = 8
)

// MaxExpensive is how many expensive operations may run at once (see Expensive). Go
// lets each run for 10 ms before a scrape gets its turn on the same processor.
const MaxExpensive = 2

// MemoryLimit is how many bytes the program takes before it looks for garbage as often as
// it can: half the MemoryMax= of the service unit. The other half is for what is no
// garbage then, and for the kernel's part.
const MemoryLimit = 128 << 20

// What one scrape can take.
const (
	// DefaultScrapeTimeout is a scrape's deadline where the scraper names none: the
	// default scrape_timeout of Prometheus.
	DefaultScrapeTimeout = 10 * time.Second

	// MinScrapeTimeout is the shortest deadline that a scraper or the targets file
	// can set: less is not to make healthy services look as if they failed.
	MinScrapeTimeout = 100 * time.Millisecond

	// MaxScrapeTimeout is the longest deadline a scraper may ask for. Real
	// ones stay within a few minutes; more is as if none was named.
	MaxScrapeTimeout = 5 * time.Minute

	// MaxScrapeTimeoutOffset is the most by which Aegis' deadline comes before the
	// scraper's own, so that the reason arrives before the scraper gives up;
	// a tenth of the deadline where that is less.
	MaxScrapeTimeoutOffset = 500 * time.Millisecond

	// MaxScrapes is how many scrapes may be under way in all. Each takes a
	// connection on both sides and some tens of kilobytes.
	MaxScrapes = 1024

	// MaxScrapesPerTarget is how many scrapes of one socket may be under way. A
	// few Prometheus servers and a person or two fit; more than that means
	// the service hangs, and queueing up behind it would only add memory.
	MaxScrapesPerTarget = 16

	// MaxBufferedBody is the largest body held back until it is whole, so that its
	// failure can still become a status. Nine in ten services answer with
	// under 100 kB. It bounds the memory of a scrape; what is larger streams,
	// which is also cheaper: it stays in the processor's cache between the two
	// sockets.
	MaxBufferedBody = 256 << 10

	// MaxBufferedTotal is how much memory the bodies held back may take in all: well
	// under the MemoryMax= of the service unit.
	MaxBufferedTotal = 96 << 20

	// MaxResponseHead is the most bytes of a response head. Services answer with under 1 KiB;
	// 64 KiB is still small beside a body.
	MaxResponseHead = 64 << 10

	// BufferSize is the size of the pieces of memory into which answers are read:
	// most fit in one with their head.
	BufferSize = MaxResponseHead

	// MaxSpliceSize is how much of a body is moved in the kernel before others have
	// their turn: a fraction of a millisecond's work.
	MaxSpliceSize = 1 << 20

	// PipeSize is how much of a body is between two sockets at once. It stays in the
	// kernel: more than what a socket's buffer holds never comes at once.
	PipeSize = 256 << 10

	// MaxIdlePipes is how many pipes are kept for the next body that is moved in the
	// kernel.
	MaxIdlePipes = 8

	// MaxChunkExtensionBytes is how many bytes of extensions and trailers a chunked body may
	// have. They mean nothing to a scrape, and no exporter sends any.
	MaxChunkExtensionBytes = 2 << 10

	// CountInterval is the time between two counts of a target's series, if its bodies
	// are as large as before. Counting those of 30 kB takes 5 µs, or some 100 where they
	// come gzipped: of a thousand targets, a five-thousandth of a processor.
	CountInterval = 10 * time.Minute

	// CountedAgain is by which part of it a body has to be larger or smaller for its
	// series to be counted at once: the numbers themselves change it by less.
	CountedAgain = 16

	// Censuses is how many bodies may be counted at once: one that is gzipped is
	// kept until it is sent, up to MaxBufferedBody.
	Censuses = 8

	// MaxDecompressed is how much of a gzipped body is unpacked, to count its series or to
	// see that it is whole: some 100,000 of them, and a twentieth of a second of
	// work.
	MaxDecompressed = 16 << 20

	// MaxEOFChecks is how many bodies may be looked through at once to see that
	// they are whole: each takes MaxBufferedBody, and 40 kB if it is gzipped.
	MaxEOFChecks = 8

	// MaxCheckBody is how much of a body aegis check parses, unpacked: some 300,000 series.
	MaxCheckBody = 32 << 20

	// MaxLintBody is how much of a body aegis check lints: that can take a hundred times as
	// much memory.
	MaxLintBody = 8 << 20

	// MaxInterimResponses is how many 1xx responses may come before the real one. One is
	// already rare.
	MaxInterimResponses = 5
)

// What one who has no password can take.
const (
	// MaxConcurrentBcrypt is how many passwords may be hashed at once: each takes a twentieth
	// of a second of a processor, of which scrapes need some too.
	MaxConcurrentBcrypt = 4

	// PasswordQueueTimeout is how long a password waits to be hashed, after one of each
	// address that came before: half of Prometheus' default timeout, so that time is left
	// for the scrape. A hundred addresses are through in that on one processor.
	PasswordQueueTimeout = 5 * time.Second

	// MaxPasswordWaiters is how many requests may wait for another with the same password: as
	// many as a Prometheus with thousands of targets begins with, until that is hashed.
	MaxPasswordWaiters = 256

	// MaxWrongPasswords is how many different passwords one address may try that are
	// wrong, in PasswordPause: enough for all who make mistakes, and for a guesser
	// about as good as none.
	MaxWrongPasswords     = 10
	WrongPasswordInterval = 10 * time.Second

	// MaxCachedPasswords is how many right ones are remembered, and how many wrong ones: some
	// for each Prometheus.
	MaxCachedPasswords = 100

	// Refusals is how many refusals may be on their way over HTTP/2 with the reason in
	// their body at once. They take a moment, or ErrorWriteTimeout where it is not read.
	Refusals = 32
)

// Connections to services.
const (
	// MaxIdlePerTarget is how many idle connections to one socket are kept, as
	// many as may be in use at once.
	MaxIdlePerTarget = MaxScrapesPerTarget

	// MaxBlockingFSCalls is how many looks at the folder and dials may be under way.
	// Each takes microseconds, unless the file system hangs: then each holds a
	// thread, and the service unit allows 256.
	MaxBlockingFSCalls = 64

	// GlanceAge is how long it may take until it is noticed that something was mounted
	// over the folder, or over what leads there: too short for that to hang already,
	// and long enough for many scrapes on a busy host.
	GlanceAge = time.Millisecond

	// JudgeAgain is how long it is taken for granted that the folder's file system may
	// hang, where it may: it may be mounted later, and not hang.
	JudgeAgain = 10 * time.Second

	// MaxIdleBackendConns is how many idle connections are kept in all, if there are four
	// times as many descriptors: one for each service of a very large host. Each
	// costs six kilobytes, half of them the kernel's; to dial anew takes as much
	// processor time as all the rest of a small scrape.
	MaxIdleBackendConns = 5_000

	// BackendIdleTimeout is how long an idle connection to a service is kept: a
	// little over the common scrape interval of 15 s.
	BackendIdleTimeout = 20 * time.Second
)

// What Aegis remembers.
const (
	// MaxTargets is how many targets have a state and series of their own; those
	// beyond it are counted together. Sockets are made by services, and a
	// service that makes them without end must not fill Aegis' memory.
	MaxTargets = 10_000

	// MaxTargetsFileSize is the most bytes of a targets file: some hundred for each of
	// MaxTargets.
	MaxTargetsFileSize = 4 << 20

	// MaxTargetsFileKeys is how many keys a mapping in it may have, but for that of the targets:
	// labels, above all.
	MaxTargetsFileKeys = 100

	// ForgetTimeout is how long a target that is gone keeps its series: long
	// enough for an alert on the last of them to fire.
	ForgetTimeout = time.Hour

	// StateLogInterval is the least time between two log lines about one
	// target, so that a flapping service does not flood the journal.
	StateLogInterval = time.Second

	// MaxLogQueue is how many lines of the log wait for who reads it, before more are
	// lost: those of a second in which every target of a large host fails.
	MaxLogQueue = 1000

	// LogBatchDelay is how long lines of the log wait for others, to be written with
	// them, after the first was written: nobody sees that it is not at once.
	LogBatchDelay = 10 * time.Millisecond

	// MaxLogBatchSize is how many bytes of lines are written together, and a line more.
	MaxLogBatchSize = 32 << 10

	// LogFlushTimeout is how long the end waits for the rest of the log to be read.
	LogFlushTimeout = time.Second

	// LimitLogInterval is the least time between two log lines about
	// connections that -allow refused, or scrapes beyond MaxScrapes.
	LimitLogInterval = time.Minute

	// ListTimeout is how long reading the folder may take for a page or a
	// sweep: a hundred thousand entries take a tenth of it.
	ListTimeout = 3 * time.Second

	// ReadDirBatchSize is how many entries of the folder are read at once; what the
	// system tells of them takes more memory than what is kept.
	ReadDirBatchSize = 1024

	// ReconcileInterval is how often the folder is compared with what is
	// remembered, to see which targets are new or gone.
	ReconcileInterval = 10 * time.Second

	// StatusInterval is the least time between two looks at the folder for the
	// status line, however fast the states of targets change.
	StatusInterval = 500 * time.Millisecond

	// MaxStatusTargets is how many failing targets the status line names.
	MaxStatusTargets = 3
)
