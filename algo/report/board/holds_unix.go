//go:build unix && !linux

package board

import (
	"io/fs"
	"os"
	"syscall"
)

// holds reports whether only this user can have written that the process holds the lock: the
// system does not say which files a process has open.
func holds(_ int, lock fs.FileInfo) bool {
	stat, ok := lock.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid() && lock.Mode().Perm()&0o022 == 0
}
