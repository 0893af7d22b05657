//go:build unix

package checkpoint

import (
	"io/fs"
	"sync"
	"syscall"
)

// umask is read once, before anything is written: reading it means setting it.
var umask = sync.OnceValue(func() int {
	m := syscall.Umask(0)
	syscall.Umask(m)
	return m
})

// masked is the mode that a new file or folder asked for with mode would have;
// os.CreateTemp and os.MkdirTemp ask for less.
func masked(mode fs.FileMode) fs.FileMode { return mode &^ fs.FileMode(umask()) }
