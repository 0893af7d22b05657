package program

import "syscall"

// endWithParent makes the kernel kill the program when we are killed.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
