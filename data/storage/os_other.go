//go:build !unix

package storage

import (
	"errors"
	"io"
	"os"
	"time"
)

const noWait = 0

// tryLock fails: a lease takes the lock's place.
func tryLock(*os.File) error { return errors.ErrUnsupported }

// mapFile reads the file: it is not mapped here.
func mapFile(f *os.File, size int) ([]byte, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), b)
	return b, err
}

func unmapFile([]byte) error { return nil }

// Forget does nothing: nothing is mapped here.
func Forget([]byte) {}

// running does not know: the heartbeat decides.
func running(int) bool { return true }

// Stamp would need the time of the last change of metadata: nothing is known here.
func Stamp(File, os.FileInfo) (mark string, changed time.Time) { return "", time.Time{} }
