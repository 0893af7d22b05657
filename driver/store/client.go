package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Client is a connection to a store. It is used by one goroutine at a time.
type Client struct {
	conn   net.Conn
	r      *bufio.Reader
	prefix string
}

// Dial connects to addr, host:port, and retries until ctx ends: the server may not be up
// yet. All keys get the prefix, which distinguishes runs and restarts.
func Dial(ctx context.Context, addr, prefix string) (*Client, error) {
	var last error
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			_, err = conn.Write(binary.LittleEndian.AppendUint32([]byte{opValidate}, magic))
			if err == nil {
				return &Client{conn: conn, r: bufio.NewReader(conn), prefix: prefix}, nil
			}
			err = errors.Join(err, conn.Close())
		}
		if ctx.Err() == nil {
			last = err
		}
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			again.Stop()
			return nil, fmt.Errorf("the store at %s, where the ranks meet: nobody answered: %w", addr, errors.Join(context.Cause(ctx), last))
		case <-again.C:
		}
	}
}

// ask sends a request and reads its answer; what names the request in errors. If a request
// is given up, the connection is closed: its answer could be taken for that of the next one.
func (c *Client) ask(ctx context.Context, what, key string, request []byte, answer func(io.Reader) error) error {
	err := c.conn.SetDeadline(time.Time{})
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) }) // it only fails on a closed connection
		defer stop()
		if _, err = c.conn.Write(request); err == nil {
			err = answer(c.r)
		}
	}
	if err == nil {
		return nil
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("the connection was closed (%w): rank 0 or torchrun has ended, or it is a torchrun before 2.2, whose store has another protocol", err)
	}
	return errors.Join(fmt.Errorf("the store at %v, where the ranks meet: %s of %q: %w", c.conn.RemoteAddr(), what, c.prefix+key, err), c.conn.Close())
}

// Set stores a value.
func (c *Client) Set(ctx context.Context, key string, value []byte) error {
	request := appendString(appendString([]byte{opSet}, c.prefix+key), string(value))
	return c.ask(ctx, "set", key, request, func(io.Reader) error { return nil })
}

// Get waits until the key has a value and returns it.
func (c *Client) Get(ctx context.Context, key string) (value []byte, err error) {
	if err := c.Wait(ctx, key); err != nil {
		return nil, err
	}
	err = c.ask(ctx, "get", key, appendString([]byte{opGet}, c.prefix+key), func(r io.Reader) error {
		s, err := readString(r)
		value = []byte(s)
		return err
	})
	return value, err
}

// Add adds to a number, which is 0 at first, and returns the sum.
func (c *Client) Add(ctx context.Context, key string, n int64) (sum int64, err error) {
	request := binary.LittleEndian.AppendUint64(appendString([]byte{opAdd}, c.prefix+key), uint64(n))
	err = c.ask(ctx, "add", key, request, func(r io.Reader) error {
		u, err := readNumber(r)
		sum = int64(u)
		return err
	})
	return sum, err
}

// Wait waits until all keys have values.
func (c *Client) Wait(ctx context.Context, keys ...string) error {
	request := binary.LittleEndian.AppendUint64([]byte{opWait}, uint64(len(keys)))
	for _, k := range keys {
		request = appendString(request, c.prefix+k)
	}
	return c.ask(ctx, "wait", fmt.Sprint(keys), request, func(r io.Reader) error {
		var b [1]byte
		_, err := io.ReadFull(r, b[:])
		if err == nil && b[0] != 0 {
			err = fmt.Errorf("the answer is %d", b[0])
		}
		return err
	})
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }
