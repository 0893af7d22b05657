package board

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// onlyMine is left to the folder that the user's own files lie in.
func onlyMine(fs.FileInfo) bool { return true }

// detached makes a process one of a group of its own, which the board's Ctrl-C does not
// reach.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// interrupt is Ctrl-Break, the only one of the two that a group can be sent.
func interrupt(p *os.Process) error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.Pid))
}

// ended does not know: the run's log says it.
func ended(int) (code int, known bool) { return 0, false }
