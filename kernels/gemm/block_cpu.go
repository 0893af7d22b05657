package gemm

import "dataflex.dev/dataflex/kernels/scratch"

// Multiplier multiplies blocks of small bf16 matrices on the calling goroutine, for kernels
// whose products are parts of a larger loop (attention). The processor must have a unit for
// bf16 (simd.Unit). The zero value is ready; memory is kept from call to call.
type Multiplier struct {
	work    halfWorkspace
	problem halfProblem
}

// MultiplierSteps is the most steps of a B that a Multiplier can take.
const MultiplierSteps = maxHalfKC

// MultiplierRows is the number of rows of C in which a Multiplier is best called: whole tiles.
func MultiplierRows() int {
	if halfUnitInUse().rows > 1 {
		return 2 * panelColumns // a pair of AMX's tiles
	}
	return 28 // two tiles of AVX512-BF16
}

// Block is the part of a product that is computed: rows I0 to I1 and columns J0 to J1 of C, and
// of the sums steps K0 to K1. J0 is a multiple of 16 and K0 one of 32.
type Block struct{ I0, I1, J0, J1, K0, K1 int }

// Repack packs b, of at most MultiplierSteps steps, for products tr (NN or NT) with it, in x's own
// memory, which grows as needed.
func (x *Panels) Repack(tr Transpose, b BF16) {
	x.tr, x.k, x.n = tr, b.Rows, b.Cols
	if tr == NT {
		x.k, x.n = b.Cols, b.Rows
	}
	if tr == TN || x.k > MultiplierSteps {
		panic("gemm: Repack of a TN product's factor, or of one with more than MultiplierSteps steps")
	}
	x.data = scratch.Sized(x.data, PanelBytes(x.k, x.n)/4)
	m := newHalfTerm(tr, x.k, BF16{}, b).b
	for j := 0; j < x.n; j += panelColumns {
		packPanel(x.at(j, 0, x.k)[:padded(x.k)/2*panelColumns], &m, j, min(j+panelColumns, x.n), 0, x.k)
	}
}

// Multiply is C = op(A) B, or C += op(A) B with add, on a block; other elements of C stay. tr says how A
// lies: NN or NT by rows, TN by columns, as [steps, rows]. Beyond A's last step B's panels are
// zeros, up to a multiple of 32 steps.
func (x *Multiplier) Multiply(tr Transpose, a BF16, b *Panels, add bool, c F32, r Block) {
	if r.J0%panelColumns != 0 || r.K0%pairStep != 0 || r.K1 > padded(b.k) || r.J1 > b.n {
		panic("gemm: a block that begins within a panel or ends beyond B")
	}
	if r.I0 >= r.I1 || r.J0 >= r.J1 || r.K0 >= r.K1 {
		return
	}
	p, w := &x.problem, &x.work
	*p = halfProblem{unit: halfUnitInUse(), m: c.Rows, n: b.n, alpha: 1, c: c.Data.Host(), ldc: c.Ld}
	from := halfMatrix{data: a.Data.Host(), outer: a.Ld, step: 1}
	if tr == TN {
		from.outer, from.step = 1, a.Ld
	}
	w.readRows(p.unit, &from, r.I0, r.I1, r.K0, r.K1-r.K0)
	panel := padded(b.k) / 2 * panelColumns
	for j := r.J0; j < r.J1; j += 2 * panelColumns {
		data := b.data[j/panelColumns*panel+r.K0/2*panelColumns:]
		w.next = data
		p.columns(w, j, min(j+2*panelColumns, r.J1), r.K1-r.K0, data, panel, add)
	}
}
