package autograd

import (
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/ptx"
)

// On a device one launch computes the products of all experts (gemm.RunExperts), and the host
// need not know how many rows each expert has. Quantised weights, DoRA, dropout before an
// adapter and per-sample gradients are computed expert by expert.

// fewExperts is the number of experts below which they are computed one by one in bf16 on
// Hopper: an expert then has enough rows for all multiprocessors, and its own product uses
// wgmma, which the launch for all experts does not. The choice depends on the model alone, so
// that a row always has the same bits.
const fewExperts = 16

// layerKind is what layers must have in common to be computed in one launch.
type layerKind struct {
	half, full         bool // the weight multiplies in bf16, or in float32; neither: it is quantised
	bias               bool
	trains, biasTrains bool
	rank               int // of the adapter; 0 = none
	scale              float32
	adapterTrains      bool
}

func (l *Linear) kind() layerKind {
	w := l.Weight
	k := layerKind{bias: l.Bias != nil, trains: w.Trainable(), biasTrains: l.Bias.Trainable()}
	k.half, k.full = w.Narrows() && !w.BF16().IsNil(), !w.Narrows() && !w.Data.IsNil()
	if a := l.LoRA; a != nil {
		k.rank, k.scale, k.adapterTrains = a.Rank, a.Scale, a.A.Trainable()
	}
	return k
}

// together reports whether one launch computes the products of all experts.
func (t *Tape) together(l linears) bool {
	dev, ok := t.dev.(driver.Launcher)
	if !ok || dev.Kind() == driver.CPU || len(t.mode.Parts) > 1 || l.dora() || t.dropsAny(l) {
		return false
	}
	kind := l.layers[0].kind()
	if !kind.half && !kind.full || kind.half && ptx.Hopper(dev) && len(l.layers) < fewExperts {
		return false
	}
	return !slices.ContainsFunc(l.layers, func(lin *Linear) bool { return lin.kind() != kind })
}

// experts returns the lists of the launches.
func (l linears) experts() gemm.Experts {
	return gemm.Experts{Offsets: l.routed.plan.Offsets, Tiles: l.routed.plan.Tiles}
}

// matrices returns one matrix of every layer.
func matrices[T gemm.Element](l linears, of func(*Linear) gemm.Matrix[T]) []gemm.Matrix[T] {
	list := make([]gemm.Matrix[T], len(l.layers))
	for i, lin := range l.layers {
		list[i] = of(lin)
	}
	return list
}

func (l *Linear) matrix() gemm.F32 { return gemm.Dense(l.Weight.Data, l.Out, l.In) }
func (l *Linear) down() gemm.F32   { return gemm.Dense(l.LoRA.A.Data, l.LoRA.Rank, l.In) }
func (l *Linear) up() gemm.F32     { return gemm.Dense(l.LoRA.B.Data, l.Out, l.LoRA.Rank) }

// expertProducts is product for all layers at once: y, and u if there are adapters.
func (t *Tape) expertProducts(m memory, l linears, rows int) {
	if t.err != nil {
		return
	}
	of, lin, kind := l.experts(), l.layers[0], l.layers[0].kind()
	y := gemm.Dense(m.y.mem, rows, lin.Out)
	var beta float32
	if kind.bias {
		ones := t.onesColumn(rowsOf{rows: rows, most: rows})
		if t.err != nil {
			return
		}
		gemm.RunExperts(t.dev, gemm.NN, of, 1, gemm.Dense(ones, rows, 1), matrices(l, func(lin *Linear) gemm.F32 { return gemm.Dense(lin.Bias.Data, 1, lin.Out) }), 0, y)
		beta = 1
	}
	switch {
	case kind.half:
		t.expertProductsBF16(m, l, rows, beta, y)
	case kind.rank == 0:
		gemm.RunExperts(t.dev, gemm.NT, of, 1, gemm.Dense(m.x.mem, rows, lin.In), matrices(l, (*Linear).matrix), beta, y)
	default:
		x, u := gemm.Dense(m.x.mem, rows, lin.In), gemm.Dense(m.u.mem, rows, kind.rank)
		gemm.RunExperts(t.dev, gemm.NT, of, 1, x, matrices(l, (*Linear).matrix), beta, y)
		gemm.RunExperts(t.dev, gemm.NT, of, 1, x, matrices(l, (*Linear).down), 0, u)
		gemm.RunExperts(t.dev, gemm.NT, of, kind.scale, u, matrices(l, (*Linear).up), 1, y)
	}
}

// expertProductsBF16 is expertProducts for bf16 weights: y = x Wᵀ + s·x Aᵀ Bᵀ + beta y.
func (t *Tape) expertProductsBF16(m memory, l linears, rows int, beta float32, y gemm.F32) {
	of, lin, kind := l.experts(), l.layers[0], l.layers[0].kind()
	x := m.xHalf.rows(0, rows, lin.In)
	weights := matrices(l, (*Linear).weight)
	if kind.rank == 0 {
		gemm.RunExpertsBF16(t.dev, gemm.NT, of, 1, x, weights, gemm.BF16{}, nil, beta, y)
		return
	}
	down, up, buffers := t.expertAdapters(l)
	half := t.lowHalf(rows, kind.rank, &buffers)
	if t.err != nil {
		return
	}
	u := gemm.Dense(m.u.mem, rows, kind.rank)
	gemm.RunExpertsBF16(t.dev, gemm.NT, of, 1, x, down, gemm.BF16{}, nil, 0, u)
	cast.NarrowRows(t.dev, kind.scale, rows, kind.rank, u.Data, half.Data, half.Ld)
	gemm.RunExpertsBF16(t.dev, gemm.NT, of, 1, x, weights, half, up, beta, y)
	t.releaseAll(buffers)
}

// expertAdapters returns A and B of all layers in bf16, and the buffers that the caller
// releases; there are none for adapters that are in bf16 already (inBF16).
func (t *Tape) expertAdapters(l linears) (down, up []gemm.BF16, buffers []*buffer) {
	var list []cast.Matrix
	for _, lin := range l.layers {
		h, ok := t.inBF16(lin)
		if !ok && t.err == nil {
			var own []cast.Matrix
			var more []*buffer
			h, own, more = t.adapterHalves(lin)
			list, buffers = append(list, own...), append(buffers, more...)
		}
		down, up = append(down, h.a), append(up, h.b)
	}
	if t.err == nil {
		cast.NarrowList(t.dev, list)
	}
	return down, up, buffers
}

// lowHalf returns memory for u or v in bf16 [rows, rank] with padded rows, and appends its
// buffer to those that the caller releases.
func (t *Tape) lowHalf(rows, rank int, buffers *[]*buffer) gemm.BF16 {
	b := t.bf16Buffer(rows * padded(rank))
	if b == nil {
		return gemm.BF16{}
	}
	*buffers = append(*buffers, b)
	return gemm.Strided(b.bf16(rows*padded(rank)), rows, rank, padded(rank))
}

func (t *Tape) releaseAll(buffers []*buffer) {
	for _, b := range buffers {
		t.release(b)
	}
}

// expertGradients is productVJP for all layers at once.
func (t *Tape) expertGradients(m memory, l linears, rows int, beta float32) error {
	of, lin, kind := l.experts(), l.layers[0], l.layers[0].kind()
	dy := gemm.Dense(m.y.mem, rows, lin.Out)
	if kind.biasTrains {
		ones := t.onesColumn(rowsOf{rows: rows, most: rows})
		if t.err != nil {
			return t.err
		}
		gemm.AddExperts(t.dev, of, 1, gemm.Dense(ones, rows, 1), dy, matrices(l, func(lin *Linear) gemm.F32 { return gemm.Dense(lin.Bias.Grad, 1, lin.Out) }))
	}
	if kind.half {
		return t.expertGradientsBF16(m, l, rows, beta)
	}
	var x gemm.F32
	if m.x != nil {
		x = gemm.Dense(m.x.mem, rows, lin.In)
	}
	if kind.trains {
		gemm.AddExperts(t.dev, of, 1, dy, x, matrices(l, (*Linear).gradient))
	}
	if m.dx != nil {
		gemm.RunExperts(t.dev, gemm.NN, of, 1, dy, matrices(l, (*Linear).matrix), beta, gemm.Dense(m.dx.mem, rows, lin.In))
	}
	if kind.rank == 0 {
		return t.err
	}
	u, v := gemm.Dense(m.u.mem, rows, kind.rank), gemm.Dense(m.v.mem, rows, kind.rank)
	gemm.RunExperts(t.dev, gemm.NN, of, kind.scale, dy, matrices(l, (*Linear).up), 0, v)
	if m.dx != nil {
		gemm.RunExperts(t.dev, gemm.NN, of, 1, v, matrices(l, (*Linear).down), 1, gemm.Dense(m.dx.mem, rows, lin.In))
	}
	if kind.adapterTrains {
		gemm.AddExperts(t.dev, of, 1, v, x, matrices(l, (*Linear).downGradient))
		gemm.AddExperts(t.dev, of, kind.scale, dy, u, matrices(l, (*Linear).upGradient))
	}
	return t.err
}

func (l *Linear) gradient() gemm.F32     { return gemm.Dense(l.Weight.Grad, l.Out, l.In) }
func (l *Linear) downGradient() gemm.F32 { return gemm.Dense(l.LoRA.A.Grad, l.LoRA.Rank, l.In) }
func (l *Linear) upGradient() gemm.F32   { return gemm.Dense(l.LoRA.B.Grad, l.Out, l.LoRA.Rank) }

// expertGradientsBF16 is expertGradients for bf16 weights, without the biases.
func (t *Tape) expertGradientsBF16(m memory, l linears, rows int, beta float32) error {
	of, lin, kind := l.experts(), l.layers[0], l.layers[0].kind()
	x, dy := m.xHalf.rows(0, rows, lin.In), m.yHalf.rows(0, rows, lin.Out)
	if kind.trains {
		gemm.AddExpertsBF16(t.dev, of, 1, dy, x, matrices(l, (*Linear).gradient))
	}
	weights := matrices(l, (*Linear).weight)
	if kind.rank == 0 {
		if m.dx != nil {
			gemm.RunExpertsBF16(t.dev, gemm.NN, of, 1, dy, weights, gemm.BF16{}, nil, beta, gemm.Dense(m.dx.mem, rows, lin.In))
		}
		return t.err
	}
	down, up, buffers := t.expertAdapters(l)
	u, v := t.lowHalf(rows, kind.rank, &buffers), t.lowHalf(rows, kind.rank, &buffers)
	if t.err != nil {
		return t.err
	}
	gemm.RunExpertsBF16(t.dev, gemm.NN, of, kind.scale, dy, up, gemm.BF16{}, nil, 0, gemm.Dense(m.v.mem, rows, kind.rank))
	cast.NarrowRows(t.dev, 1, rows, kind.rank, m.v.mem, v.Data, v.Ld)
	if m.dx != nil {
		gemm.RunExpertsBF16(t.dev, gemm.NN, of, 1, dy, weights, v, down, beta, gemm.Dense(m.dx.mem, rows, lin.In))
	}
	if kind.adapterTrains {
		cast.NarrowRows(t.dev, kind.scale, rows, kind.rank, m.u.mem, u.Data, u.Ld)
		gemm.AddExpertsBF16(t.dev, of, 1, v, x, matrices(l, (*Linear).downGradient))
		gemm.AddExpertsBF16(t.dev, of, 1, dy, u, matrices(l, (*Linear).upGradient))
	}
	t.releaseAll(buffers)
	return t.err
}
