package cpu

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of x86's and most arm64 kernels' large pages.
const hugePage = 2 << 20

// inHugePages asks the kernel to back memory that nobody has touched yet with large pages,
// which many systems do on request only: a product reads rows of A whole pages apart, and with
// pages of 4 KiB their addresses no longer fit the processor's table. What is left over at both
// ends of whole large pages stays as it is.
func inHugePages(memory []byte) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	lo, hi := int(-at&(hugePage-1)), len(memory)-int((at+uintptr(len(memory)))&(hugePage-1))
	if lo < hi {
		_ = syscall.Madvise(memory[lo:hi], syscall.MADV_HUGEPAGE) // a kernel without them refuses: small pages do as well
	}
}
