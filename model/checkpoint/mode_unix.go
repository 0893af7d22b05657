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

// fileMode is the mode an ordinary new file has.
func fileMode() fs.FileMode { return fs.FileMode(0o666 &^ umask()) }
