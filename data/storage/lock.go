package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Lock is an exclusive lock that one process holds, among all on this machine and, on a network
// file system, on all machines. The kernel releases it when the process dies.
//
// Where the file system has no locks (ENOLCK, ENOTSUP), the file is a lease: it holds its
// owner's host, process and a heartbeat. It is taken over when its owner is a process of this
// machine that has ended, or when the heartbeat has stopped.
type Lock struct {
	path string
	file File // nil: a lease
	self Owner
	stop chan struct{} // of the heartbeat
	done chan struct{}
}

// Owner identifies the process that holds a lock.
type Owner struct {
	Host      string    `json:"host"`
	PID       int       `json:"pid"`
	Started   string    `json:"started"`             // tells apart processes that had the same number
	Namespace string    `json:"namespace,omitempty"` // the PID namespace in which PID is valid
	Since     time.Time `json:"since"`
	Heartbeat time.Time `json:"heartbeat,omitzero"` // of a lease
}

// Held is the error for a lock that another process holds.
type Held struct {
	Path  string
	Owner Owner // zero: not known
	Lease bool
}

func (h *Held) Error() string {
	who := "another process"
	if h.Owner.PID != 0 {
		who = fmt.Sprintf("process %d on %s (since %s)", h.Owner.PID, h.Owner.Host, h.Owner.Since.Local().Format(time.DateTime))
	}
	if !h.Lease {
		return fmt.Sprintf("%s is held by %s", h.Path, who)
	}
	return fmt.Sprintf("%s is held by %s, whose last heartbeat was %v ago; %v after it the lock is taken over",
		h.Path, who, time.Since(h.Owner.Heartbeat).Round(time.Second), silence)
}

const (
	beat    = 10 * time.Second // how often a lease is renewed
	silence = 60 * time.Second // after which the owner is considered dead
)

// taken are the locks of this process: without a reference the garbage collector would close
// their files, and thereby release them.
var taken sync.Map

// TakeLock takes the lock at path, whose folder must exist, or immediately returns a *Held.
func TakeLock(path string) (*Lock, error) {
	for range 100 {
		l, err := take(path)
		if l != nil {
			taken.Store(l, true)
		}
		if l != nil || err != nil {
			return l, err
		}
	}
	return nil, &Held{Path: path}
}

// waitEvery is how often WaitLock tries again.
const waitEvery = 100 * time.Millisecond

// WaitLock takes the lock at path as soon as it is free. waiting, which may be nil, is called
// once with the holder if the lock is not free at first.
func WaitLock(ctx context.Context, path string, waiting func(*Held)) (*Lock, error) {
	for {
		l, err := TakeLock(path)
		var held *Held
		if !errors.As(err, &held) {
			return l, err
		}
		if waiting != nil {
			waiting(held)
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(waitEvery):
		}
	}
}

// take is one attempt; it returns neither a lock nor an error if the file changed in the
// meantime.
func take(path string) (*Lock, error) {
	f, err := OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	l := &Lock{path: path, self: self()}
	switch err := f.TryLock(); {
	case errors.Is(err, ErrLocked):
		owner, _ := readOwner(path)
		return nil, errors.Join(&Held{Path: path, Owner: owner}, f.Close())
	case err != nil:
		return l.lease(f)
	}
	// Its last owner may have removed the file after we opened it and before we locked it.
	if !same(f, path) {
		return nil, f.Close()
	}
	l.file = f
	// The lock is valid even if its owner's name cannot be written (on a full disk).
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(l.self.encode(), 0)
	}
	return l, nil
}

// same reports whether path still names the open file.
func same(f File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := Stat(path)
	return err == nil && sameFile(a, b)
}

// sameFile is os.SameFile; files of a mounted FS are the same if their Sys is.
func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) || a.Sys() != nil && a.Sys() == b.Sys()
}

// Release releases the lock and removes its file.
func (l *Lock) Release() error {
	taken.Delete(l)
	if l.file != nil {
		return errors.Join(RemoveIfThere(l.path), l.file.Close())
	}
	close(l.stop)
	<-l.done
	if owner, err := readOwner(l.path); err != nil || !owner.is(l.self) {
		return nil // another process has taken the lease over
	}
	return RemoveIfThere(l.path)
}

func (o Owner) encode() []byte {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // an owner holds strings, numbers and times only
	}
	return append(text, '\n')
}

// is reports whether both are the same process, whatever their times.
func (o Owner) is(other Owner) bool {
	return o.Host == other.Host && o.PID == other.PID && o.Started == other.Started && o.Since.Equal(other.Since)
}

func readOwner(path string) (Owner, error) {
	var o Owner
	text, err := ReadFile(path)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// self describes this process.
func self() Owner { return OwnerOf(os.Getpid()) }

// OwnerOf describes a process of this machine, so that Running can recognise it later.
func OwnerOf(pid int) Owner {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return Owner{Host: host, PID: pid, Started: startOf(pid), Namespace: namespace, Since: time.Now()}
}

// Running reports whether o is a process of this machine that has not ended. Another process
// that has since been given the same number does not count. Where the system does not say when
// a process started, the answer is false.
func (o Owner) Running() bool { return o.Here() && o.Started != "" && startOf(o.PID) == o.Started }

// Here reports whether o.PID is a process number of this machine.
func (o Owner) Here() bool {
	me := self()
	return o.PID != 0 && o.Host == me.Host && o.Namespace == me.Namespace
}

// LockOwner is who took the lock at path, according to the file; that process may have ended.
func LockOwner(path string) (Owner, error) { return readOwner(path) }

// lease is take where there are no locks: f is open at the path and empty if it is new.
func (l *Lock) lease(f File) (*Lock, error) {
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if owner, err := readOwner(l.path); err == nil || info.Size() > 0 {
		if owner.Heartbeat.Before(info.ModTime()) {
			owner.Heartbeat = info.ModTime()
		}
		if owner.alive(l.self) {
			return nil, &Held{Path: l.path, Owner: owner, Lease: true}
		}
	}
	return l.seize(info)
}

// alive reports whether the owner of a lease may still hold it.
func (o Owner) alive(self Owner) bool {
	if o.PID != 0 && o.Host == self.Host && o.Namespace == self.Namespace && o.Namespace != "" {
		return running(o.PID) && startOf(o.PID) == o.Started
	}
	return time.Since(o.Heartbeat) < silence
}

// seize replaces the file at the path, which nobody holds, by ours: it is renamed away, so that
// only one of several contenders can have found it, and created again.
func (l *Lock) seize(seen fs.FileInfo) (*Lock, error) {
	away := tempName(l.path)
	if err := Rename(l.path, away); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	defer RemoveIfThere(away)
	if moved, err := Stat(away); err != nil || !sameFile(moved, seen) || moved.Size() != seen.Size() || !moved.ModTime().Equal(seen.ModTime()) {
		return nil, errors.Join(err, Rename(away, l.path)) // another contender has created it in the meantime
	}
	f, err := OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l.self.Heartbeat = time.Now()
	_, err = f.Write(l.self.encode())
	ours := same(f, l.path) // or another contender saw it empty and has renamed it away
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, RemoveIfThere(l.path))
	}
	if !ours {
		return nil, nil
	}
	l.stop, l.done = make(chan struct{}), make(chan struct{})
	go l.renew()
	return l, nil
}

// renew is the heartbeat. It ends when the lease is released or was taken over.
func (l *Lock) renew() {
	defer close(l.done)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-tick.C:
			owner, err := readOwner(l.path)
			if err == nil && !owner.is(l.self) {
				return
			}
			l.self.Heartbeat = now
			_ = WriteFile(l.path, l.self.encode()) // tried again at the next beat
		}
	}
}
