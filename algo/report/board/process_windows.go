package board

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// onlyMine relies on the permissions of the folder in which the user's own files are.
func onlyMine(fs.FileInfo) bool { return true }

// holds is false: Ctrl-Break reaches only the groups of one's own console.
func holds(int, fs.FileInfo) bool { return false }

// detached starts a process in its own group, which the board's Ctrl-C does not reach.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// interrupt sends Ctrl-Break, the only one of the two that can be sent to a group.
func interrupt(p *os.Process) error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.Pid))
}

// ended returns a child's exit code; known is false while it is running.
func ended(pid int) (code int, known bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return 1, true // its number is free again, and its exit code lost
	}
	defer func() { _ = windows.CloseHandle(h) }() // nothing was changed through it
	var status uint32
	const stillActive = 259
	if err := windows.GetExitCodeProcess(h, &status); err != nil || status == stillActive {
		return 0, false
	}
	return int(status), true
}
