//go:build !amd64

package gemm

// halfUnitInUse: there are none, bf16 is widened.
func halfUnitInUse() *halfUnit { return nil }

func pair16(int, *uint16, uintptr, *uint32) { panic("gemm: pair16 is for amd64") }
