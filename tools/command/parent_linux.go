package command

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel end a rank when this process is killed.
func endWithParent(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
