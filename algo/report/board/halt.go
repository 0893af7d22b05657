package board

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
)

// holder is the process of this user that holds a run's lock. A lock file that merely names a
// process does not make it one: whoever can write into the folder could name any.
func (b *Board) holder(name string) (owner storage.Owner, ok bool) {
	if b.checkInside(name) != nil {
		return owner, false
	}
	path := filepath.Join(b.path(name), storage.LockFile)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return owner, false
	}
	owner, err = storage.LockOwner(path)
	return owner, err == nil && owner.Running() && holds(owner.PID, info)
}

// halt asks the process that works on a run to save and end, and returns its number. The
// caller holds mu.
func (b *Board) halt(name string) (process int, err error) {
	owner, held := b.holder(name)
	works := func() bool {
		now, ok := b.holder(name)
		return ok && now.PID == owner.PID && now.Started == owner.Started
	}
	// A job on several devices is its launcher, not the process that holds the lock.
	if j := b.jobOf(name, owner.PID); j != nil {
		owner, held, works = j.Process, true, j.running
	}
	if !held {
		if life := b.life(name); life.running {
			return 0, refusal{http.StatusConflict, life.state + ", which the board cannot stop: stop it where it was started"}
		}
		return 0, refusal{http.StatusConflict, "it has already ended"}
	}
	p, err := os.FindProcess(owner.PID)
	if err != nil {
		return 0, err
	}
	// p refers to the process that has this number now, even if it ends and the number is
	// reused: whether it is the one is checked afterwards.
	err = refusal{http.StatusConflict, "it has already ended"}
	if works() {
		err = interrupt(p)
	}
	if err = errors.Join(err, p.Release()); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("stopping process %d of %s: %w", owner.PID, name, err)
	}
	return owner.PID, nil
}
