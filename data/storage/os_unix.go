//go:build unix

package storage

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// noWait opens a FIFO without blocking; for writing, ENXIO says that it has no reader.
const noWait = unix.O_NONBLOCK

// tryLock is flock, which works on folders, too, and ends with the process.
func tryLock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		}
		return err
	}
}

func mapFile(f *os.File, size int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
}

func unmapFile(b []byte) error { return unix.Munmap(b) }

// Forget releases the pages of a mapping from memory; they are read from the file again on the
// next access.
func Forget(b []byte) {
	if len(b) > 0 {
		_ = unix.Madvise(b, unix.MADV_DONTNEED)
	}
}

// running reports whether this machine has a process of that number.
func running(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// Stamp is what an open file's metadata says about its content, and when the file last changed;
// "" where the metadata is not sufficient.
func Stamp(f File, info os.FileInfo) (mark string, changed time.Time) {
	o, ok := f.(osFile)
	if !ok {
		return "", time.Time{}
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(o.Fd()), &s); err != nil {
		return "", time.Time{}
	}
	ctime := time.Unix(s.Ctim.Unix())
	changed = info.ModTime()
	if ctime.After(changed) {
		changed = ctime
	}
	return fmt.Sprintf("%d %d %d %d %d", s.Dev, s.Ino, info.Size(), info.ModTime().UnixNano(), ctime.UnixNano()), changed
}
