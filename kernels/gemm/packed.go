package gemm

// Packed is op(B) as the kernels read it.
type Packed struct {
	data   []float32
	n, k   int
	padded int // n up to a multiple of the panel width
}

// panel is the first float of the panel that starts at column j0, in the block
// of kc steps that starts at k0.
func (p *Packed) panel(j0, k0, kc int) *float32 {
	return &p.data[k0*p.padded+j0*kc]
}
