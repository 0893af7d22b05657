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

// ended asks how a child has ended; known is false while it has not.
func ended(pid int) (code int, known bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return 1, true // its number is free again, and its code gone
	}
	defer func() { _ = windows.CloseHandle(h) }() // it was only looked at
	var status uint32
	const stillActive = 259
	if err := windows.GetExitCodeProcess(h, &status); err != nil || status == stillActive {
		return 0, false
	}
	return int(status), true
}
