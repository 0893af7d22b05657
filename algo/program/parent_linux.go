package program

import (
	"os/exec"
	"syscall"
)

// EndWithParent makes the kernel kill a command, which is not started yet, when we are killed.
func EndWithParent(c *exec.Cmd) {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
