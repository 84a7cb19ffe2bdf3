package scrape

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
	"unicode/utf8"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// varlinkConn is a connection to a service that has the Varlink interface io.systemd.Metrics (varlink.org).
type varlinkConn struct {
	roundTrip // for its errors
	in        *bufio.Reader
	paused    int64 // what had been received at the last pause
}

// varlinkReply is a reply of List or Describe. Of a key that is there twice, the last one counts.
type varlinkReply struct {
	Error      string
	Continues  bool
	Parameters varlinkMetric
}

// doVarlink scrapes s with the method List, and turns the metrics into text. It calls Describe once, and again for
// metrics of a new name.
func (c *Client) doVarlink(ctx context.Context, s socketdir.Socket, req Request) (*Response, error) {
	service := c.varlinkService(s.String())
	if !service.slots.Acquire(ctx, req.Timeout/2) {
		return nil, fmt.Errorf("%w: %d scrapes of it are in flight, and each may start a process", ErrBusy, service.slots.Size())
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

	v := varlinkConn{roundTrip{ctx: ctx, conn: conn, req: req}, bufio.NewReaderSize(conn, limits.MaxVarlinkMessage), 0}
	described := service.described.Load()
	if described.of != conn.id {
		described = new(descriptions)
	}
	metrics := newVarlinkMetrics(filepath.Base(s.String()), described.byName)
	err = v.call("List", limits.MaxVarlinkValues, metrics.add)
	if err == nil && metrics.undescribed {
		metrics.clearDescriptions()
		err = v.call("Describe", limits.MaxVarlinkFamilies, metrics.describe)
		if err == nil {
			service.described.Store(&descriptions{conn.id, metrics.described})
		}
	}
	if err == nil && len(metrics.families) == 0 && metrics.foreign != "" {
		err = fmt.Errorf("%w: the names of its metrics begin with %.80q, not with that of the socket, %s",
			ErrNotMetrics, metrics.foreign, metrics.prefix)
	}
	if err != nil {
		(&Response{full: metrics.full}).Close()
		return nil, err
	}
	return metrics.response(), nil
}

// call calls a method, and add for each of its replies.
func (v *varlinkConn) call(method string, maxReplies int, add func(varlinkMetric) error) error {
	// If that fails, reading says why.
	io.WriteString(v.conn, `{"method":"io.systemd.Metrics.`+method+`","parameters":{},"more":true}`+"\x00")
	for range maxReplies {
		reply, err := v.read()
		switch {
		case err != nil:
			return err
		case reply.Error == "io.systemd.Metrics.NoSuchMetric": // There are none.
			return nil
		case reply.Error != "":
			return fmt.Errorf("%w: the Varlink method %s returned %s; check that the service has the interface io.systemd.Metrics",
				ErrStatus, method, printable(reply.Error))
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

func (v *varlinkConn) read() (reply varlinkReply, err error) {
	if v.received-v.paused >= limits.MaxVarlinkMessage {
		v.paused = v.received
		time.Sleep(limits.VarlinkPause)
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
