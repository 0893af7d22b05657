// Package rope is rotary position embedding as Hugging Face's llama family
// computes it: the two halves of a head are the coordinates of D/2 planes, plane
// i being rotated by pos·inv[i].
//
//	x1' = x1·cos − x2·sin        x1 = x[.., i], x2 = x[.., i+D/2]
//	x2' = x2·cos + x1·sin        interleaved: x1 = x[.., 2i], x2 = x[.., 2i+1]
//
// cos and sin are float32, computed from the float32 product pos·inv and
// multiplied by the attention scale (1 but for yarn and longrope).
//
// Source: Su et al. 2021, arXiv:2104.09864; transformers 4.52
// models/llama/modeling_llama.py and modeling_rope_utils.py.
package rope

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Apply rotates x, float32 [T, heads·headDim], in place; pos [T] are the tokens' rows of the
// table, 0 and up (Table.Rows; for most types their positions). inverse rotates by the opposite
// angle with the same scale, which is the gradient of the rotation. Heads longer than the
// table's dimension keep their tail (partial rotary), or with Offset what precedes it. Rows are
// independent.
func Apply(dev driver.Device, x driver.F32, pos []int32, t *Table, heads, headDim int, inverse bool) {
	a := t.check(x.Len(), pos, heads, headDim)
	x = x.Sub(min(t.Offset, x.Len()), x.Len())
	inverse = inverse != t.Backwards
	dispatch.Run(dev, "rope.Apply", func(c *cpu.Device) {
		applyCPU(c, x.Host(), pos, a, t, heads, headDim, inverse)
	}, func(c driver.Launcher) {
		applyPTX(c, "rope_apply", x.Addr(), pos, a, t, heads, headDim, inverse)
	})
}

// check panics where the arguments contradict each other, n being the number of x's elements,
// and returns the angles of the positions.
func (t *Table) check(n int, pos []int32, heads, headDim int) angles {
	switch {
	case heads < 1 || headDim < 1:
		panic("rope: heads or headDim < 1")
	case n != len(pos)*heads*headDim:
		panic("rope: x is not [T, heads*headDim]")
	case t.Offset < 0 || t.Offset+t.dim > headDim:
		panic("rope: the table is wider than a head")
	}
	last := -1
	for _, p := range pos {
		if p < 0 {
			panic("rope: negative position")
		}
		last = max(last, int(p))
	}
	return t.grown(last + 1)
}
