//go:build unix

package board

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// onlyMine reports whether a file belongs to this user and nobody else can read it.
func onlyMine(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid() && info.Mode().Perm()&0o077 == 0
}

// detached starts a process in its own session, so that the signals that end the board (Ctrl-C,
// a closed terminal) do not reach it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// interrupt sends the signal of Ctrl-C.
func interrupt(p *os.Process) error { return p.Signal(os.Interrupt) }

// ended returns a child's exit code; known is false while it is running.
func ended(pid int) (code int, known bool) {
	var status syscall.WaitStatus
	for {
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || got != pid:
			return 0, false
		case status.Signaled():
			return 128 + int(status.Signal()), true
		}
		return status.ExitStatus(), true
	}
}
