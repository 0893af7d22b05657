//go:build !unix

package program

import "os/exec"

// ownGroup: there are no process groups here.
func ownGroup(*exec.Cmd) {}

// killGroup kills the command; what it started stays.
func killGroup(c *exec.Cmd) { _ = c.Process.Kill() } // it may have ended
