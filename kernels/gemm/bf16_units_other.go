//go:build !amd64

package gemm

// halfUnit is never made here: bf16 is widened.
type halfUnit struct {
	rows, steps int
	multiply    func(p *halfProblem, w *halfWorkspace, part halfPart, i0, j0, j1, kc int, b *uint32, panel uintptr, add bool)
}

func halfUnitInUse() *halfUnit { return nil }

func pair16(int, *uint16, uintptr, *uint32) { panic("gemm: pair16 is for amd64") }
