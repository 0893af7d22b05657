package rope

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Half reports whether ApplyBF16 turns heads of that length by t: whether two neighbouring
// elements of bf16 turn alike.
func (t *Table) Half(headDim int) bool { return (t.dim/2|t.Offset|headDim)%2 == 0 }

// ApplyBF16 is Apply to values in bf16, which are widened, turned and rounded to nearest even.
func ApplyBF16(dev driver.Device, x driver.Slice[driver.BF16], pos []int32, t *Table, heads, headDim int, inverse bool) {
	if !t.Half(headDim) {
		panic("rope: a plane begins at an odd element")
	}
	a := t.check(x.Len(), pos, heads, headDim)
	x = x.Sub(min(t.Offset, x.Len()), x.Len())
	inverse = inverse != t.Backwards
	dispatch.Run(dev, "rope.ApplyBF16", func(c *cpu.Device) {
		wide := cast.Widened(c, x.Host(), nil)
		applyCPU(c, wide, pos, a, t, heads, headDim, inverse)
		cast.NarrowHost(wide, x.Host())
	}, func(c driver.Launcher) {
		applyPTX(c, "rope_apply_half", x.Addr(), pos, a, t, heads, headDim, inverse)
	})
}
