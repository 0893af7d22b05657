//go:build unix && !linux

package program

import "syscall"

// endWithParent: the program sees its standard input end when we are killed.
func endWithParent(*syscall.SysProcAttr) {}
