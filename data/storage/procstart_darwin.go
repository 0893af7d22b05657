package storage

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// zombie is the state of a process that has ended but whose exit status has not been read yet:
// SZOMB of sys/proc.h.
const zombie = 5

// startOf is when a process started; "" if there is no such process.
func startOf(pid int) string {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(p.Proc.P_pid) != pid || p.Proc.P_stat == zombie {
		return ""
	}
	return fmt.Sprintf("%d.%06d", p.Proc.P_starttime.Sec, p.Proc.P_starttime.Usec)
}
