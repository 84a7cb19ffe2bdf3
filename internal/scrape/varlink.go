package scrape

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// varlinkService is what is kept about a socket with Varlink.
type varlinkService struct {
	slots     *limits.Semaphore // of scrapes in flight
	described atomic.Pointer[descriptions]
}

// varlinkService returns the service of the socket at path. Beyond limits.MaxVarlinkServices, it forgets the others.
func (c *Client) varlinkService(path string) *varlinkService {
	c.varlinkMu.Lock()
	defer c.varlinkMu.Unlock()
	s := c.varlink[path]
	if s == nil {
		if c.varlink == nil || len(c.varlink) >= limits.MaxVarlinkServices {
			c.varlink = make(map[string]*varlinkService)
		}
		s = &varlinkService{slots: limits.NewSemaphore(limits.MaxVarlinkScrapes)}
		s.described.Store(new(descriptions))
		c.varlink[path] = s
	}
	return s
}

// doVarlink scrapes s with the Varlink interface io.systemd.Metrics (varlink.org), and turns the metrics into text.
func (c *Client) doVarlink(ctx context.Context, s socketdir.Socket, req Request) (*Response, error) {
	service := c.varlinkService(s.String())
	if !service.slots.Acquire(ctx, req.Timeout/2) {
		return nil, fmt.Errorf("%w: %d scrapes of it are in flight, and each may start a process",
			ErrBusy, service.slots.Size())
	}
	defer service.slots.Release()
	conn, err := dial(ctx, s, &c.pool)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	v := varlinkConn{in: bufio.NewReaderSize(conn, limits.MaxVarlinkMessage)}
	v.ctx, v.conn, v.req = ctx, conn, req
	samples, err := v.list(strings.TrimSuffix(filepath.Base(s.String()), socketdir.Suffix) + ".")
	described := service.described.Load()
	if err == nil && !described.have(conn.id, samples) {
		described, err = v.describe(samples)
	}
	if err != nil {
		(&Response{full: v.full}).Close()
		return nil, err
	}
	service.described.Store(described)
	text := varlinkText(samples, described.byName)
	return &Response{
		ContentType: DefaultContentType, complete: true, length: int64(len(text)),
		buffered: [][]byte{text}, full: v.full,
	}, nil
}

// varlinkConn is a connection for one scrape.
type varlinkConn struct {
	roundTrip // for its errors
	in        *bufio.Reader
	counted   int64     // bytes of what was received that full counts
	full      []*buffer // count as the memory of the metrics and their text
}

// list returns the samples whose names begin with prefix, in any order.
func (v *varlinkConn) list(prefix string) (samples []varlinkSample, err error) {
	foreign := ""
	err = v.call("List", limits.MaxVarlinkValues, func(m varlinkMetric) error {
		if len(m.Fields) > limits.MaxVarlinkFields {
			return invalidf("a value of %.80q has more than %d fields", m.Name, limits.MaxVarlinkFields)
		}
		if !strings.HasPrefix(m.Name, prefix) {
			foreign = m.Name
		} else if s := m.sample(); s.value != "" {
			samples = append(samples, s)
		}
		return nil
	})
	if err == nil && len(samples) == 0 && foreign != "" {
		err = fmt.Errorf("%w: the names of its metrics begin with %.80q, not with that of the socket, %s",
			ErrNotMetrics, foreign, prefix)
	}
	return samples, err
}

// describe returns what Describe says. It has all samples, so that the next scrape does not ask for a name again that
// Describe lacks.
func (v *varlinkConn) describe(samples []varlinkSample) (*descriptions, error) {
	d := &descriptions{v.conn.id, make(map[string]description)}
	for _, s := range samples {
		d.byName[s.of] = description{}
	}
	if len(d.byName) > limits.MaxVarlinkFamilies {
		return nil, invalidf("it has more than %d metrics of different names", limits.MaxVarlinkFamilies)
	}
	return d, v.call("Describe", limits.MaxVarlinkFamilies, func(m varlinkMetric) error {
		if len(m.Name) <= limits.MaxVarlinkText {
			kind := map[string]string{"counter": "counter", "gauge": "gauge", "string": "gauge"}[m.Type]
			d.byName[m.Name] = description{strings.Clone(printable(m.Description)), kind}
		}
		return nil
	})
}

// call calls a method, and add for each of its replies.
func (v *varlinkConn) call(method string, maxReplies int, add func(varlinkMetric) error) error {
	// If that fails, reading says why.
	io.WriteString(v.conn, `{"method":"io.systemd.Metrics.`+method+`","parameters":{},"more":true}`+"\x00")
	for i := range maxReplies {
		reply, err := v.read()
		switch {
		case err != nil:
			return err
		case i == 0 && !reply.Continues && reply.Error == "io.systemd.Metrics.NoSuchMetric": // There are none.
			return nil
		case reply.Error != "":
			return fmt.Errorf("%w: the Varlink method %s returned %s; "+
				"check that the service has the interface io.systemd.Metrics", ErrStatus, method, printable(reply.Error))
		}
		if reply.Parameters.Name == "" {
			return invalidf("a reply to the Varlink method %s has no name", method)
		}
		err = add(reply.Parameters)
		if err == nil && !reply.Continues && v.in.Buffered() > 0 {
			err = invalidf("it sends more after its last reply")
		}
		if err != nil || !reply.Continues {
			return err
		}
	}
	return invalidf("it sends more than %d replies to the Varlink method %s", maxReplies, method)
}

// varlinkReply is a reply of List or Describe.
type varlinkReply struct {
	Error      string
	Continues  bool
	Parameters varlinkMetric
}

func (v *varlinkConn) read() (reply varlinkReply, err error) {
	limits.Yield()
	if v.received-v.counted >= limits.BufferSize {
		v.counted = v.received
		for range 2 { // Metrics and their text take twice the memory of the replies.
			b, err := getBuffer()
			if err != nil {
				return reply, err
			}
			v.full = append(v.full, b)
		}
		if v.received > limits.VarlinkPauseAfter {
			time.Sleep(limits.VarlinkPause)
		}
	}
	message, err := v.in.ReadSlice(0)
	v.received += int64(len(message))
	switch {
	case len(message) > 0 && message[0] != '{':
		return reply, invalidf("it does not speak Varlink: it begins with %.20q", message)
	case errors.Is(err, bufio.ErrBufferFull):
		return reply, invalidf("a Varlink message of it is larger than %d KiB", limits.MaxVarlinkMessage>>10)
	case err != nil:
		return reply, v.readError(err)
	case v.received > limits.MaxVarlinkReply:
		return reply, invalidf("its metrics are larger than %d MiB", limits.MaxVarlinkReply>>20)
	case !utf8.Valid(message):
		return reply, invalidf("its Varlink message %.80q is not UTF-8", message)
	}
	if err := json.Unmarshal(message[:len(message)-1], &reply); err != nil {
		return reply, invalidf("its Varlink message %.80q: %v", message, err)
	}
	return reply, nil
}
