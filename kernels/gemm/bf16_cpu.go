package gemm

import (
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/scratch"
)

// On the host bf16 is multiplied by what the processor has for it: AMX's tiles, AVX512-BF16,
// or the float32 kernels after widening.
//
// B lies in panels of 16 columns, whose rows are pairs of k: 64 bytes, for AMX and
// AVX512-BF16 alike. Panels are packed by whoever multiplies with them, once for all rows
// of a task, or before by Pack. A is read where it lies unless it is a TN product's or its
// rows end in the middle of a step.
const (
	panelColumns = 16
	pairStep     = 32   // steps of k of an AMX tile; panels are filled up to them with zeros
	maxHalfKC    = 1024 // steps of k per block: a pair of panels is 64 KiB, the rows of a task fit the second-level cache
	maxHalfRows  = 1024 // rows per block: those of A, over the steps of a block, fit the second-level cache
	maxSecond    = 128  // steps of a second term that joins the first
)

// halfUnit is how one of the processor's units multiplies rows with panels.
type halfUnit struct {
	rows  int  // A's rows come in multiples of it
	steps int  // and its steps
	joins bool // multiply adds w.second to the same sums
	// multiply adds the product of part, rows i0 on of C, and the panels of columns
	// [j0, j1) over kc steps.
	multiply func(p *halfProblem, w *halfWorkspace, part halfPart, i0, j0, j1, kc int, b *uint32, panel uintptr, add bool)
}

// halfMatrix is a factor in bf16: element (i, p) of A lies at i*outer + p*step, element
// (p, j) of B at p*step + j*outer.
type halfMatrix struct {
	data        []driver.BF16
	outer, step int
	panels      *Panels // B, where it is packed already
}

// halfTerm is one product of a sum of products.
type halfTerm struct {
	k    int
	a, b halfMatrix
}

// halfProblem is C = alpha times the sum of terms (+ C if add).
type halfProblem struct {
	unit   *halfUnit
	m, n   int
	alpha  float32
	add    bool
	terms  [2]halfTerm
	nTerms int
	c      []float32
	ldc    int
}

func newHalfTerm(tr Transpose, k int, a, b BF16) halfTerm {
	t := halfTerm{
		k: k,
		a: halfMatrix{data: a.Data.Host(), outer: a.Ld, step: 1},
		b: halfMatrix{data: b.Data.Host(), outer: 1, step: b.Ld},
	}
	switch tr {
	case NT:
		t.b.outer, t.b.step = b.Ld, 1
	case TN:
		t.a.outer, t.a.step = 1, a.Ld
	}
	return t
}

// runBF16CPU is C = alpha (op(A) op(B) + op(U) op(L)) + beta C; r = 0 leaves the second
// product out, and panels stand for B where they are given.
func runBF16CPU(d *cpu.Device, tr Transpose, alpha float32, k, r int, a, b, u, l BF16, panels *Panels, beta float32, c F32) {
	unit := halfUnitInUse()
	if unit == nil {
		widened(d, tr, alpha, a, b, beta, c)
		if r > 0 {
			widened(d, tr, alpha, u, l, 1, c)
		}
		return
	}
	p := halfProblem{unit: unit, m: c.Rows, n: c.Cols, alpha: alpha, add: beta == 1, c: c.Data.Host(), ldc: c.Ld}
	if k > 0 {
		p.terms[0] = newHalfTerm(tr, k, a, b)
		p.terms[0].b.panels = panels
		p.nTerms = 1
	}
	if r > 0 {
		p.terms[p.nTerms] = newHalfTerm(tr, r, u, l)
		p.nTerms++
	}
	if p.nTerms == 0 || p.m == 0 || p.n == 0 {
		if !p.add {
			clearRows(p.c, p.m, p.n, p.ldc)
		}
		return
	}
	if tr == TN && p.nTerms == 1 && p.n <= swapHalfColumns && p.n < p.m {
		p.runTransposed(d)
		return
	}
	p.run(d)
}

func clearRows(c []float32, rows, cols, ld int) {
	for i := range rows {
		clear(c[i*ld : i*ld+cols])
	}
}

// widened is the product with the float32 kernels: A as a copy in float32, B widened as its
// panels are packed. The bits are those of Run on the widened factors.
func widened(d *cpu.Device, tr Transpose, alpha float32, a, b BF16, beta float32, c F32) {
	w := wideCopies.Take()
	defer wideCopies.Give(w)
	w.a = cast.Widened(d, a.Data.Host(), w.a)
	x := F32{driver.FromHost(w.a), a.Rows, a.Cols, a.Ld}
	if tr != TN {
		RunTiles(d, tr, alpha, x, bf16Rows{b.Data.Host(), b.Ld}, b.Rows, b.Cols, beta, c)
		return
	}
	w.b = cast.Widened(d, b.Data.Host(), w.b)
	Run(d, tr, alpha, x, F32{driver.FromHost(w.b), b.Rows, b.Cols, b.Ld}, beta, c)
}

// wideCopy is the memory of widened.
type wideCopy struct{ a, b []float32 }

var wideCopies = scratch.NewPool[wideCopy](4)

// bf16Rows are Tiles of a matrix in bf16.
type bf16Rows struct {
	data []driver.BF16
	ld   int
}

func (x bf16Rows) Read(dst []float32, ld, r0, r1, c0, c1 int) {
	for r := r0; r < r1; r++ {
		cast.WidenHost(x.data[r*x.ld+c0:r*x.ld+c1], dst[(r-r0)*ld:(r-r0)*ld+c1-c0])
	}
}

func (p *halfProblem) run(d *cpu.Device) {
	by := cut{2 * panelColumns, 2 * panelColumns, halfGrain, 4, 32} // A is mostly read where it lies
	if p.terms[0].a.step != 1 {
		by.a = 64 // and transposed in TN products
	}
	if p.terms[0].b.panels != nil {
		by.b = 4
	}
	if rows, columns := cutGrid(p.m, p.n, p.terms[0].k+p.terms[1].k, by, d.Threads()); rows*columns > 1 {
		runGrid(d, halfCalls, *p, p.m, p.n, by, rows, columns)
		return
	}
	p.multiply(0, p.m, 0, p.n)
}

// halfBlock is the number of steps packed at once. It depends on k alone, as the order of
// the sum must.
func halfBlock(k int) int {
	blocks := (k + maxHalfKC - 1) / maxHalfKC
	return ((k+blocks-1)/blocks + pairStep - 1) &^ (pairStep - 1)
}

// padded is kc filled up to whole steps.
func padded(kc int) int { return (kc + pairStep - 1) &^ (pairStep - 1) }

var halfWorkspaces = scratch.NewPool[halfWorkspace](128)

// halfWorkspace is what one thread packs into.
type halfWorkspace struct {
	a     []driver.BF16
	pairs []uint32 // of A's columns on their way to rows
	b     []uint32
	next  []uint32         // the panels after those that are multiplied with
	edge  [32 * 32]float32 // a tile that reaches over C's last row or column
	rows  halfRows

	second halfSecond
	more   []uint32 // its panels
}

// multiply computes the rectangle [i0, i1) x [j0, j1) of C; j0 is a multiple of 16.
func (p *halfProblem) multiply(i0, i1, j0, j1 int) {
	w := halfWorkspaces.Take()
	defer halfWorkspaces.Give(w)
	blocks := (i1 - i0 + maxHalfRows - 1) / maxHalfRows
	for r := range blocks {
		lo, hi := share(i1-i0, 2*panelColumns, blocks, r)
		p.multiplyRows(w, i0+lo, i0+hi, j0, j1)
	}
}

func (p *halfProblem) multiplyRows(w *halfWorkspace, i0, i1, j0, j1 int) {
	add, terms, joined := p.add, p.terms[:p.nTerms], p.joinsSecond()
	if joined {
		terms = terms[:1]
	}
	for x := range terms {
		t := &terms[x]
		size := halfBlock(t.k)
		for k0 := 0; k0 < t.k; k0 += size {
			kc := min(size, t.k-k0)
			w.readRows(p.unit, &t.a, i0, i1, k0, kc)
			for j := j0; j < j1; j += 2 * panelColumns {
				last := min(j+2*panelColumns, j1)
				b, panel := w.panels(t, j, last, k0, kc)
				if joined && k0+kc == t.k {
					w.readSecond(&p.terms[1], i0, j, last)
				}
				p.columns(w, j, last, kc, b, panel, add)
				w.second = halfSecond{}
			}
			add = true
		}
	}
}

// joinsSecond reports whether the second term is added to the sums of the first while they are in
// registers: where its rows can be read where they lie and its panels are small.
func (p *halfProblem) joinsSecond() bool {
	t := &p.terms[1]
	return p.unit.joins && p.nTerms == 2 && t.k <= maxSecond && t.a.step == 1 && t.k%p.unit.steps == 0 && t.b.panels == nil
}

// halfSecond is the second term for the task's rows, from their first on, and one or two panels of
// columns; 0 pairs: there is none.
type halfSecond struct {
	pairs int
	a     *driver.BF16
	lda   uintptr
	b     *uint32
	panel uintptr
}

// readSecond packs t's columns [j0, j1) for the rows from i0 on.
func (w *halfWorkspace) readSecond(t *halfTerm, i0, j0, j1 int) {
	panel := padded(t.k) / 2 * panelColumns
	w.more = scratch.Sized(w.more, 2*panel)
	for i := 0; j0+i*panelColumns < j1; i++ {
		lo := j0 + i*panelColumns
		packPanel(w.more[i*panel:(i+1)*panel], &t.b, lo, min(lo+panelColumns, j1), 0, t.k)
	}
	w.second = halfSecond{t.k / 2, &t.a.data[i0*t.a.outer], 2 * uintptr(t.a.outer), &w.more[0], 4 * uintptr(panel)}
}

// panels are the one or two panels of columns [j0, j1), and the distance between them.
func (w *halfWorkspace) panels(t *halfTerm, j0, j1, k0, kc int) (b []uint32, panel int) {
	panel = padded(kc) / 2 * panelColumns
	if x := t.b.panels; x != nil {
		b = x.at(j0, k0, kc)
		if w.next = b[min(2*panel, len(b)):]; len(w.next) == 0 {
			w.next = b
		}
		return b, panel
	}
	w.b = scratch.Sized(w.b, 2*panel)
	w.next = w.b
	for i := 0; j0+i*panelColumns < j1; i++ {
		lo := j0 + i*panelColumns
		packPanel(w.b[i*panel:(i+1)*panel], &t.b, lo, min(lo+panelColumns, j1), k0, kc)
	}
	return w.b, panel
}

// halfRows are the rows of A of a task, in one or two parts: those that lie as the kernels
// want them, and those that were copied.
type halfRows struct {
	first int
	parts [2]halfPart
}

// halfPart is rows rows of A, bytes apart; padded are rows of zeros below them.
type halfPart struct {
	rows, padded int
	a            *driver.BF16
	lda          uintptr
}

// readRows makes w.rows the rows [i0, i1) of a and its steps [k0, k0+kc).
func (w *halfWorkspace) readRows(unit *halfUnit, a *halfMatrix, i0, i1, k0, kc int) {
	w.rows = halfRows{first: i0}
	n, where := i1-i0, 0
	if a.step == 1 && kc%unit.steps == 0 {
		if where = n - n%unit.rows; where > 0 {
			w.rows.parts[0] = halfPart{rows: where, a: &a.data[i0*a.outer+k0], lda: 2 * uintptr(a.outer)}
		}
	}
	if where == n {
		return
	}
	k := padded(kc)
	fill := (unit.rows - (n-where)%unit.rows) % unit.rows
	w.a = scratch.Sized(w.a, (n-where+fill)*k)
	w.packRows(a, i0+where, i1, k0, kc)
	clear(w.a[(n-where)*k:])
	w.rows.parts[1] = halfPart{rows: n - where, padded: fill, a: &w.a[0], lda: 2 * uintptr(k)}
}

// columns multiplies the task's rows with one or two panels.
func (p *halfProblem) columns(w *halfWorkspace, j0, j1, kc int, b []uint32, panel int, add bool) {
	i := w.rows.first
	for _, part := range w.rows.parts {
		if part.rows > 0 {
			p.unit.multiply(p, w, part, i, j0, j1, kc, &b[0], 4*uintptr(panel), add)
			i += part.rows
		}
	}
}

// below is the element that lies bytes after x.
func below[T any](x *T, bytes uintptr) *T { return (*T)(unsafe.Add(unsafe.Pointer(x), bytes)) }
