package cache

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// stamp is what a file's metadata says of its content, and when that last changed.
func stamp(info os.FileInfo) (mark string, changed time.Time) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", time.Time{}
	}
	ctime := time.Unix(s.Ctim.Unix())
	changed = info.ModTime()
	if ctime.After(changed) {
		changed = ctime
	}
	return fmt.Sprintf("%d %d %d %d %d", s.Dev, s.Ino, info.Size(), info.ModTime().UnixNano(), ctime.UnixNano()), changed
}
