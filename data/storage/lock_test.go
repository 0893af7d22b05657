package storage

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const holdEnv = "DATAFLEX_STORAGE_HOLD"

// TestMain also serves as a process that takes a lock and holds it until it is killed.
func TestMain(m *testing.M) {
	path := os.Getenv(holdEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	if rest, ok := strings.CutPrefix(path, "lease:"); ok {
		path = rest
		Mount(filepath.Dir(path), withoutLocks{OS})
	}
	if _, err := TakeLock(path); err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("held\n")
	time.Sleep(time.Hour) // until it is killed
}

// hold starts a process that holds the lock.
func hold(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+path)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line := make([]byte, 5)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	ok(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

// withoutLocks is a network file system that was mounted without a lock daemon.
type withoutLocks struct{ FS }

type withoutLock struct{ File }

func (withoutLock) TryLock() error { return syscall.ENOLCK }

func (w withoutLocks) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	f, err := w.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return withoutLock{f}, nil
}

// A lock names its holder, ends with it and leaves nothing when it is released; so does a
// lease.
func TestLock(t *testing.T) {
	for _, kind := range []string{"lock", "lease"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "lock")
			child := path
			if kind == "lease" {
				t.Cleanup(Mount(dir, withoutLocks{OS}))
				child = "lease:" + path
			}
			cmd := hold(t, child)
			_, err := TakeLock(path)
			var held *Held
			if !errors.As(err, &held) || held.Owner.PID != cmd.Process.Pid || held.Lease != (kind == "lease") {
				t.Fatalf("%v: %+v, want process %d", err, held, cmd.Process.Pid)
			}
			host, _ := os.Hostname()
			if !strings.Contains(err.Error(), "on "+host) {
				t.Errorf("%v does not name %s", err, host)
			}
			kill(t, cmd)
			l, err := TakeLock(path)
			ok(t, err)
			if _, err := TakeLock(path); !errors.As(err, &held) || held.Owner.PID != os.Getpid() {
				t.Errorf("taken twice by one process: %v", err)
			}
			ok(t, l.Release())
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func TestWaitLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	cmd := hold(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := WaitLock(ctx, path, func(h *Held) {
		if h.Owner.PID != cmd.Process.Pid {
			t.Errorf("waiting for %+v", h.Owner)
		}
		cancel()
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	l, err := WaitLock(t.Context(), path, func(*Held) { kill(t, cmd) })
	ok(t, err)
	ok(t, l.Release())
}

// A lease of another machine is respected while its heartbeat continues; a lease whose process
// number was reused, or whose heartbeat stopped, is not.
func TestLeaseOfOthers(t *testing.T) {
	me := self()
	if me.Started == "" {
		t.Skip("processes have no start time here")
	}
	far, again := me, me
	far.Host, again.Started = "elsewhere", "1"
	for _, c := range []struct {
		name  string
		owner Owner
		age   time.Duration
		taken bool
	}{
		{"another machine", far, time.Second, false},
		{"another machine, silent", far, 2 * silence, true},
		{"this process, silent", me, 2 * silence, false},
		{"an earlier process of this number", again, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Cleanup(Mount(dir, withoutLocks{OS}))
			path := filepath.Join(dir, "lock")
			c.owner.Heartbeat = time.Now().Add(-c.age)
			text, err := json.Marshal(c.owner)
			ok(t, err)
			write(t, path, text)
			ok(t, os.Chtimes(path, c.owner.Heartbeat, c.owner.Heartbeat))
			l, err := TakeLock(path)
			if taken := l != nil; taken != c.taken {
				t.Fatalf("taken %v (%v), want %v", taken, err, c.taken)
			}
			if l != nil {
				ok(t, l.Release())
			}
		})
	}
}

// TestRunning: a process is recognised, also one that has ended and whose status has not been
// read, and is not confused with another.
func TestRunning(t *testing.T) {
	cmd := hold(t, filepath.Join(t.TempDir(), "lock"))
	o := OwnerOf(cmd.Process.Pid)
	if o.Started == "" {
		t.Skip("this system does not say when a process started")
	}
	if !o.Running() {
		t.Fatalf("%+v is not running", o)
	}
	for name, change := range map[string]func(*Owner){
		"host":      func(o *Owner) { o.Host += "x" },
		"started":   func(o *Owner) { o.Started += "1" },
		"unknown":   func(o *Owner) { o.Started = "" },
		"namespace": func(o *Owner) { o.Namespace += "x" },
		"number":    func(o *Owner) { o.PID = os.Getpid() },
		"none":      func(o *Owner) { o.PID = 0 },
	} {
		other := o
		if change(&other); other.Running() {
			t.Errorf("%s: %+v is taken for %+v", name, other, o)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); o.Running(); runtime.Gosched() { // delivery of the signal takes time
		if time.Now().After(end) {
			t.Fatal("a process that was killed runs on")
		}
	}
	_ = cmd.Wait() // killed
	if o.Running() {
		t.Error("a process that was waited for runs on")
	}
}
