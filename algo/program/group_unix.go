//go:build unix

package program

import (
	"os/exec"
	"syscall"
)

// ownGroup starts a command in a process group of its own: it can be ended with all
// that it starts, and the terminal's Ctrl-C does not reach it before us.
func ownGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(c.SysProcAttr)
}

// killGroup kills what is left of a command's group.
func killGroup(c *exec.Cmd) {
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // there may be nobody left
}
