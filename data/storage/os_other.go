//go:build !unix

package storage

import (
	"errors"
	"io"
	"os"
	"time"
)

const noWait = 0

// tryLock fails, so that a lease is used instead.
func tryLock(*os.File) error { return errors.ErrUnsupported }

// mapFile reads the file instead of mapping it.
func mapFile(f *os.File, size int) ([]byte, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), b)
	return b, err
}

func unmapFile([]byte) error { return nil }

// Forget does nothing: nothing is mapped here.
func Forget([]byte) {}

// running is not known here: the heartbeat decides.
func running(int) bool { return true }

// Stamp returns nothing: it would need the time of the last change of metadata.
func Stamp(File, os.FileInfo) (mark string, changed time.Time) { return "", time.Time{} }
