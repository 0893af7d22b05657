//go:build unix

package program

import (
	"os/exec"
	"syscall"
)

// ownGroup starts a command in its own process group, which can be ended as a whole, and which
// the terminal's Ctrl-C does not reach before us.
func ownGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killGroup kills what remains of a command's group.
func killGroup(c *exec.Cmd) {
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // there may be no process left
}
