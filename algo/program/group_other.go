//go:build !unix

package program

import "os/exec"

// ownGroup does nothing: there are no process groups here.
func ownGroup(*exec.Cmd) {}

// killGroup kills the command, but not the processes that it started.
func killGroup(c *exec.Cmd) { _ = c.Process.Kill() } // it may have ended
