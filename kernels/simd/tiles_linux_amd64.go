package simd

import "syscall"

// mayUseTiles asks Linux for AMX's tile registers, for all threads of the process and once:
// arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), Linux 5.16. It fails where the
// kernel or the hypervisor has none to give. (Linux documentation, arch/x86/xstate.rst.)
func mayUseTiles() bool {
	const archPrctl, request, tileData = 158, 0x1023, 18
	_, _, fault := syscall.RawSyscall(archPrctl, request, tileData, 0)
	return fault == 0
}
