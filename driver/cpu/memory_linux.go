package cpu

import "syscall"

// memoryBytes is the machine's physical memory.
func memoryBytes() uint64 {
	var s syscall.Sysinfo_t
	if syscall.Sysinfo(&s) != nil {
		return 0
	}
	return uint64(s.Totalram) * uint64(s.Unit)
}
