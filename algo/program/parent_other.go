//go:build unix && !linux

package program

import "syscall"

// endWithParent does nothing: the program's standard input is closed when we are killed.
func endWithParent(*syscall.SysProcAttr) {}
