package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver/launch"
)

// limit bounds the time of a test in which ranks wait for each other.
func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func serve(t *testing.T) *Server {
	t.Helper()
	s, err := Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestRanksFindEachOther(t *testing.T) {
	const ranks = 64
	s, ctx := serve(t), limit(t)
	id := bytes.Repeat([]byte{0, 7, 255}, 43)[:128]
	var wg sync.WaitGroup
	for rank := range ranks {
		wg.Go(func() {
			c, err := Dial(ctx, s.Addr(), "run/0/")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if rank == ranks/2 {
				if err := c.Set(ctx, "id", id); err != nil {
					t.Error(err)
				}
			}
			if got, err := c.Get(ctx, "id"); err != nil || !bytes.Equal(got, id) {
				t.Errorf("rank %d: %x, %v", rank, got, err)
			}
			n, err := c.Add(ctx, "there", 1)
			if err != nil {
				t.Error(err)
			}
			if n == ranks {
				if err := c.Set(ctx, "all", []byte("yes")); err != nil {
					t.Error(err)
				}
			}
			if err := c.Wait(ctx, "all", "id"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Drain(ctx); err != nil {
		t.Error(err)
	}
}

// TestRestartsAreApart: a restart does not read the values of the attempt before.
func TestRestartsAreApart(t *testing.T) {
	s, ctx := serve(t), limit(t)
	first, err := Dial(ctx, s.Addr(), "run/0/")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := first.Set(ctx, "id", []byte("old")); err != nil {
		t.Fatal(err)
	}
	second, err := Dial(ctx, s.Addr(), "run/1/")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	brief, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if got, err := second.Get(brief, "id"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestGivesUp(t *testing.T) {
	s, ctx := serve(t), limit(t)
	c, err := Dial(ctx, s.Addr(), "p/")
	if err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := c.Get(brief, "never"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "never") {
		t.Errorf("%v", err)
	}
	waits, err := Dial(ctx, s.Addr(), "p/")
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	if _, err := waits.Add(ctx, "n", 1); err != nil { // the client is connected
		t.Fatal(err)
	}
	addr := s.Addr()
	ended := make(chan error)
	go func() { ended <- waits.Wait(ctx, "never") }()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("%v", err)
	}
	brief, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(brief, addr, ""); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}

// TestWords compares requests with the protocol, byte for byte: validate, ping, set("k",
// "v"), wait, get, add, check and cancel.
func TestWords(t *testing.T) {
	s := serve(t)
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, step := range [][2]string{
		{"00cef7853c" + "0d01020304", "01020304"},
		{"01" + "0100000000000000" + "6b" + "0100000000000000" + "76" + "06" + "0100000000000000" + "0100000000000000" + "6b", "00"},
		{"03" + "0100000000000000" + "6b", "0100000000000000" + "76"},
		{"04" + "0100000000000000" + "6e" + "0500000000000000", "0500000000000000"},
		{"04" + "0100000000000000" + "6e" + "feffffffffffffff", "0300000000000000"},
		{"05" + "0200000000000000" + "0100000000000000" + "6b" + "0100000000000000" + "78", "01"},
		{"0c", "01"},
	} {
		request, _ := hex.DecodeString(step[0])
		want, _ := hex.DecodeString(step[1])
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(got); {
			k, err := conn.Read(got[n:])
			if err != nil {
				t.Fatalf("%s: %v", step[0], err)
			}
			n += k
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", step[0], got, want)
		}
	}
}

// sent is a connection whose client has sent everything in advance.
type sent struct{ *bytes.Reader }

func (s *sent) Write(b []byte) (int, error) { return len(b), nil }

func FuzzServer(f *testing.F) {
	hello := binary.LittleEndian.AppendUint32([]byte{opValidate}, magic)
	f.Add(append(bytes.Clone(hello), appendString([]byte{opAdd}, "k\x01\x00\x00\x00\x00\x00\x00\x00")...))
	f.Add(append(bytes.Clone(hello), appendString(appendString([]byte{opSet}, "k"), "v")...))
	f.Add(append(bytes.Clone(hello), opWait, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 'k'))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newServer()
		s.closed = true // so that requests that wait end: no other client will set the key
		s.client(&sent{bytes.NewReader(b)})
		for k, v := range s.values {
			if len(k) > maxBytes || len(v) > maxBytes {
				t.Errorf("%d and %d bytes", len(k), len(v))
			}
		}
	})
}

// TestUnderTorchrun: two ranks started by a real torchrun meet at its agent's store.
func TestUnderTorchrun(t *testing.T) {
	if place, err := launch.Find(os.Getenv); err == nil && place.Several() && os.Getenv("DATAFLEX_STORE_TEST") != "" {
		if err := meet(limit(t), place); err != nil {
			t.Fatal(err)
		}
		return
	}
	torchrun, err := exec.LookPath("torchrun")
	if err != nil {
		t.Skip("torchrun is not here: pip install torch")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(limit(t), torchrun, "--standalone", "--nproc-per-node", "2", "--no-python", "--", program, "-test.run", "^TestUnderTorchrun$")
	cmd.Env = append(os.Environ(), "DATAFLEX_STORE_TEST=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// meet checks that all ranks of TestUnderTorchrun find each other.
func meet(ctx context.Context, p launch.Place) error {
	c, err := Dial(ctx, p.Store(), "dataflex/"+p.Run+"/")
	if err != nil {
		return err
	}
	defer c.Close()
	if !p.AgentStore {
		return errors.New("torchrun's agent holds no store")
	}
	n, err := c.Add(ctx, "there", 1)
	if err == nil && n == int64(p.Size) {
		err = c.Set(ctx, "all", []byte{1})
	}
	if err != nil {
		return err
	}
	_, err = c.Get(ctx, "all")
	return err
}
