package storage

import (
	"strconv"

	"golang.org/x/sys/windows"
)

// startOf is when a process started; "" if there is no such process, or it has ended.
func startOf(pid int) string {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return ""
	}
	defer func() { _ = windows.CloseHandle(h) }() // nothing was changed through it
	var code uint32
	const stillActive = 259
	if err := windows.GetExitCodeProcess(h, &code); err != nil || code != stillActive {
		return ""
	}
	var made, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &made, &ended, &kernel, &user); err != nil {
		return ""
	}
	return strconv.FormatInt(made.Nanoseconds(), 10)
}
