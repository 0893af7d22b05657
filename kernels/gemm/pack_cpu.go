package gemm

// operand is a factor in memory: element (i, p) of A is at i*outer + p*step, element (p, j) of B
// at p*step + j*outer.
type operand struct {
	data  []float32
	outer int // stride of A's rows, of B's columns
	step  int // stride along k

	tiles Tiles // B, where data is nil
	rows  bool  // the rows of tiles are the columns of B: a NT product
}

// packA copies rows [i0, i1) and steps [p0, p0+kc) of a to dst. An A stored by rows keeps that
// order, with kc floats a row: rows that are far apart in memory compete for the same cache sets
// and take a page each, and packed rows do not. An A stored by columns is packed step by step,
// with i1-i0 floats a step.
func packA(dst []float32, a operand, i0, i1, p0, kc int) {
	h := i1 - i0
	if a.step == 1 {
		for i := range h {
			copy(dst[i*kc:(i+1)*kc], a.data[(i0+i)*a.outer+p0:])
		}
		return
	}
	src := a.data[p0*a.step+i0:]
	p := 0
	// Whole vectors are copied; the next step or tile overwrites what is too much.
	switch {
	case h <= 8:
		for ; p < kc && p*a.step+8 <= len(src); p++ {
			*(*[8]float32)(dst[p*h:]) = *(*[8]float32)(src[p*a.step:])
		}
	case h <= 16:
		for ; p < kc && p*a.step+16 <= len(src); p++ {
			*(*[16]float32)(dst[p*h:]) = *(*[16]float32)(src[p*a.step:])
		}
	}
	for ; p < kc; p++ {
		copy(dst[p*h:(p+1)*h], src[p*a.step:])
	}
}

// packB copies columns [j0, j1) and steps [p0, p0+kc) of b to dst [kc, width], padded with zeros.
func packB(dst []float32, width int, b operand, j0, j1, p0, kc int) {
	n := j1 - j0
	dst = dst[:kc*width]
	if n < width {
		clear(dst)
	}
	if b.outer == 1 {
		copyRows(dst, width, b.data[p0*b.step+j0:], b.step, n, kc)
		return
	}
	j := 0
	for ; j+8 <= n; j += 8 {
		p := 0
		if vectors() && kc >= 8 {
			p = kc &^ 7
			transpose8(p/8, &b.data[(j0+j)*b.outer+p0], 4*uintptr(b.outer), &dst[j], 4*uintptr(width))
		}
		for i := j; p < kc && i < j+8; i++ {
			packColumn(dst[p*width+i:], width, b.data[(j0+i)*b.outer+p0+p:][:kc-p])
		}
	}
	for ; j < n; j++ {
		packColumn(dst[j:], width, b.data[(j0+j)*b.outer+p0:][:kc])
	}
}

// decodeB is packB for a B that is given as Tiles; strip is memory for its columns [j1-j0, kc].
func decodeB(dst []float32, width int, b operand, strip []float32, j0, j1, p0, kc int) {
	n := j1 - j0
	if b.rows {
		b.tiles.Read(strip, kc, j0, j1, p0, p0+kc)
		packB(dst, width, operand{data: strip, outer: kc, step: 1}, 0, n, 0, kc)
		return
	}
	if n < width {
		clear(dst[:kc*width])
	}
	b.tiles.Read(dst, width, p0, p0+kc, j0, j1)
}

// packColumn copies a column of B to every width-th element of dst.
func packColumn(dst []float32, width int, src []float32) {
	for p, v := range src {
		dst[p*width] = v
	}
}

// copyRows copies n floats of each of kc rows, step apart in src and width apart in dst.
func copyRows(dst []float32, width int, src []float32, step, n, kc int) {
	j := 0
	if vectors() {
		for ; j+16 <= n; j += 16 {
			copy16(kc, &src[j], 4*uintptr(step), &dst[j], 4*uintptr(width))
		}
	}
	if j < n {
		for p := range kc {
			copy(dst[p*width+j:], src[p*step+j:][:n-j])
		}
	}
}
