//go:build unix

package board

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// onlyMine says that a file is this user's and that nobody else can read it.
func onlyMine(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid() && info.Mode().Perm()&0o077 == 0
}

// detached makes a process one of a session of its own: what ends the board, Ctrl-C or a
// closed terminal, does not reach it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// interrupt is Ctrl-C.
func interrupt(p *os.Process) error { return p.Signal(os.Interrupt) }

// ended asks how a child has ended; known is false while it has not.
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
