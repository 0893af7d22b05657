//go:build cuda && cgo && linux

package cuda

// #cgo CFLAGS: -std=gnu11 -Wall -Wextra -I${SRCDIR}/include -fvisibility=hidden
// #cgo LDFLAGS: -ldl
// #include "shim.h"
import "C"

// Why says why there is no usable driver; "" when there is one. It opens the
// driver if nothing has yet.
func Why() string { return C.GoString(C.dataflex_cuda_why()) }

// Path is the driver library in use, "" without one.
func Path() string { return C.GoString(C.dataflex_cuda_path()) }
