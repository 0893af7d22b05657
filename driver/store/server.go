package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// Server is a store that this process serves.
type Server struct {
	listener net.Listener
	mu       sync.Mutex
	change   *sync.Cond // signals changes of the fields below
	values   map[string]string
	conns    int
	closed   bool
}

// Serve listens on addr, host:port. The server's goroutines end with Close.
func Serve(addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("the store where the ranks meet: %w: set MASTER_PORT to another port, the same for all ranks", err)
	}
	s := newServer()
	s.listener = l
	go s.accept()
	return s, nil
}

func newServer() *Server {
	s := &Server{values: map[string]string{}}
	s.change = sync.NewCond(&s.mu)
	return s
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.count(1)
		go func() {
			defer s.count(-1)
			defer conn.Close()
			s.client(conn)
		}()
	}
}

// Addr is the address on which it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

func (s *Server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns += n
	s.change.Broadcast()
}

// Drain waits until all clients have left: the server leaves last.
func (s *Server) Drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.count(0) })
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.conns > 0 && ctx.Err() == nil {
		s.change.Wait()
	}
	if s.conns > 0 {
		return fmt.Errorf("the store where the ranks meet: %d of them are still connected: %w", s.conns, context.Cause(ctx))
	}
	return nil
}

// Close ends the store; clients that wait for a key are disconnected.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.change.Broadcast()
	s.mu.Unlock()
	return s.listener.Close()
}

// client serves one connection until it ends or sends an invalid request.
func (s *Server) client(conn io.ReadWriter) {
	r := bufio.NewReader(conn)
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || head[0] != opValidate || binary.LittleEndian.Uint32(head[1:]) != magic {
		return
	}
	for {
		op, err := r.ReadByte()
		if err != nil {
			return
		}
		answer, err := s.answer(op, r)
		if err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// answer reads the rest of a request and makes its answer.
func (s *Server) answer(op byte, r io.Reader) ([]byte, error) {
	switch op {
	case opSet:
		return nil, s.set(r)
	case opGet:
		return s.get(r)
	case opAdd:
		return s.add(r)
	case opCheck, opWait:
		return s.wait(r, op == opWait)
	case opCancel:
		return []byte{1}, nil
	case opPing:
		nonce := make([]byte, 4)
		_, err := io.ReadFull(r, nonce)
		return nonce, err
	}
	return nil, fmt.Errorf("request %d", op)
}

func (s *Server) set(r io.Reader) error {
	k, err := readString(r)
	if err != nil {
		return err
	}
	v, err := readString(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(k, v)
}

// put stores a value. mu is held.
func (s *Server) put(k, v string) error {
	if _, there := s.values[k]; !there && len(s.values) >= maxKeys {
		return errors.New("the store is full")
	}
	s.values[k] = v
	s.change.Broadcast()
	return nil
}

// get returns the value of an existing key: clients wait for it first.
func (s *Server) get(r io.Reader) ([]byte, error) {
	k, err := readString(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[k]
	if !ok {
		return nil, errors.New("no such key")
	}
	return appendString(nil, v), nil
}

func (s *Server) add(r io.Reader) ([]byte, error) {
	k, err := readString(r)
	if err != nil {
		return nil, err
	}
	by, err := readNumber(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := strconv.ParseInt(s.values[k], 10, 64)
	if err != nil && s.values[k] != "" {
		return nil, err
	}
	n += int64(by)
	return binary.LittleEndian.AppendUint64(nil, uint64(n)), s.put(k, strconv.FormatInt(n, 10))
}

func (s *Server) wait(r io.Reader, stay bool) ([]byte, error) {
	keys, err := readKeys(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.all(keys) {
		switch {
		case !stay:
			return []byte{1}, nil
		case s.closed:
			return nil, net.ErrClosed
		}
		s.change.Wait()
	}
	return []byte{0}, nil
}

func (s *Server) all(keys []string) bool {
	for _, k := range keys {
		if _, ok := s.values[k]; !ok {
			return false
		}
	}
	return true
}
