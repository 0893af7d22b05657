package board

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// holds reports whether a process is this user's and has the lock's file open.
func holds(pid int, lock fs.FileInfo) bool {
	proc := fmt.Sprintf("/proc/%d", pid)
	info, err := os.Stat(proc)
	if err != nil {
		return false
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Getuid() {
		return false
	}
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return false
	}
	for _, e := range open {
		if info, err := os.Stat(filepath.Join(proc, "fd", e.Name())); err == nil && os.SameFile(info, lock) {
			return true
		}
	}
	return false
}
