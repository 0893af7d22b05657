//go:build unix

package cache

import (
	"fmt"
	"os"
	"syscall"
)

// mapFile maps a file for reading. The mapping outlives the file's name.
func mapFile(path string) (b []byte, unmap func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Size() == 0 { // mmap refuses a length of 0
		return nil, func() error { return nil }, nil
	}
	if b, err = syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED); err != nil {
		return nil, nil, fmt.Errorf("%s: mapping %d bytes: %w", path, info.Size(), err)
	}
	return b, func() error { return syscall.Munmap(b) }, nil
}

// forget takes the pages of a mapping out of the process's memory; they come back from
// the file when they are read.
func forget(b []byte) {
	if len(b) > 0 {
		_ = syscall.Madvise(b, syscall.MADV_DONTNEED)
	}
}

// lockFolder takes the exclusive lock on a folder, or fails at once when someone has
// it. Closing the file, or dying, releases it.
func lockFolder(path string) (*os.File, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return d, nil
}
