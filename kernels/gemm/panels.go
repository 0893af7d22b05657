package gemm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// Panels is a bf16 matrix B on the host, packed as the processor's unit for bf16 reads it: for
// many products with the same B. It serves one kind of product, NN or NT.
type Panels struct {
	data []uint32
	tr   Transpose
	n, k int // columns and steps
}

// PanelBytes is the memory of the Panels of a matrix of k steps and n columns.
func PanelBytes(k, n int) int { return 2 * padded(k) * allColumns(n) }

// allColumns is n filled up to whole panels.
func allColumns(n int) int { return (n + panelColumns - 1) / panelColumns * panelColumns }

// Pack packs b for products tr, NN or NT, with it, into PanelBytes of memory. The processor
// must have a unit for bf16 (simd.Unit).
func Pack(d *cpu.Device, tr Transpose, b BF16, memory driver.Slice[uint32]) *Panels {
	if tr == TN {
		panic(badTranspose)
	}
	x := &Panels{data: memory.Host(), tr: tr, k: b.Rows, n: b.Cols}
	if tr == NT {
		x.k, x.n = b.Cols, b.Rows
	}
	if len(x.data) < PanelBytes(x.k, x.n)/4 {
		panic("gemm: less than PanelBytes to pack into")
	}
	m := newHalfTerm(tr, x.k, BF16{}, b).b
	size := halfBlock(x.k)
	panels := allColumns(x.n) / panelColumns
	for k0 := 0; k0 < x.k; k0 += size {
		kc := min(size, x.k-k0)
		d.Parallel(panels, func(q int) {
			j := q * panelColumns
			packPanel(x.at(j, k0, kc)[:padded(kc)/2*panelColumns], &m, j, min(j+panelColumns, x.n), k0, kc)
		})
	}
	return x
}

// at is where the panels of column j and steps [k0, k0+kc) lie.
func (x *Panels) at(j, k0, kc int) []uint32 {
	return x.data[k0/2*allColumns(x.n)+padded(kc)/2*j:]
}

// RunPanels is RunBF16 with a packed B. The bits are the same.
func RunPanels(d *cpu.Device, tr Transpose, alpha float32, a BF16, b *Panels, beta float32, c F32) {
	k := checkShapes(tr, a, b.matrix(tr), beta, c)
	runBF16CPU(d, tr, alpha, k, 0, a, BF16{}, BF16{}, BF16{}, b, beta, c)
}

// RunLoRAPanels is RunLoRABF16 with a packed B. The bits are the same.
func RunLoRAPanels(d *cpu.Device, tr Transpose, a BF16, b *Panels, u, l BF16, beta float32, c F32) {
	k, r := checkShapes(tr, a, b.matrix(tr), beta, c), depth(tr, u, l, beta, c)
	runBF16CPU(d, tr, 1, k, r, a, BF16{}, u, l, b, beta, c)
}

// matrix has the shape of what was packed.
func (x *Panels) matrix(tr Transpose) BF16 {
	if tr != x.tr {
		panic(badTranspose)
	}
	if tr == NT {
		return BF16{Rows: x.n, Cols: x.k, Ld: x.k}
	}
	return BF16{Rows: x.k, Cols: x.n, Ld: x.n}
}
