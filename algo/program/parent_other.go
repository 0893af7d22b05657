//go:build !linux

package program

import "os/exec"

// EndWithParent does nothing: only Linux has it. A program of ours sees its standard input closed
// when we are killed.
func EndWithParent(*exec.Cmd) {}
