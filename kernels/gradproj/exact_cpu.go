package gradproj

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// copyOut adds γ to its place in out [n][total].
func (p *Projection) copyOut(d *cpu.Device, g gradients, out []float32) {
	d.Parallel(g.n, func(i int) {
		row := out[i*p.dim+g.offset:][:g.size]
		simd.Add(row, row, g.data[i*g.size:][:g.size])
	})
}

// innerProducts adds ⟨γ_i, vector_k⟩, a float64 sum over the block, to out [n][dim].
func (p *Projection) innerProducts(d *cpu.Device, g gradients, out []float32) {
	vectors := p.opt.Vectors.Host()
	d.Parallel(g.n*p.dim, func(task int) {
		i, k := task/p.dim, task%p.dim
		out[task] += float32(dot64(g.data[i*g.size:][:g.size], vectors[k*p.total+g.offset:][:g.size]))
	})
}

// dot64 is the inner product, accumulated in float64 in four strands.
func dot64(x, y []float32) float64 {
	var s [4]float64
	y = y[:len(x)]
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a, b := (*[4]float32)(x[i:]), (*[4]float32)(y[i:])
		s[0] += float64(a[0]) * float64(b[0])
		s[1] += float64(a[1]) * float64(b[1])
		s[2] += float64(a[2]) * float64(b[2])
		s[3] += float64(a[3]) * float64(b[3])
	}
	for ; i < len(x); i++ {
		s[0] += float64(x[i]) * float64(y[i])
	}
	return (s[0] + s[2]) + (s[1] + s[3])
}
