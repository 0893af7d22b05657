package gemm

// operand is a matrix as the kernels read it: element (i, p) of A lies at
// i*outer + p*step, element (p, j) of B at p*step + j*outer.
type operand struct {
	data  []float32
	outer int // distance between rows of A, columns of B
	step  int // distance between successive k
}

// packA copies rows [i0, i1) and steps [p0, p0+kc) of a to dst, step by step.
func packA(dst []float32, a operand, i0, i1, p0, kc int) {
	h := i1 - i0
	if a.outer == 1 {
		for p := range kc {
			d := dst[p*h : p*h+h]
			s := a.data[(p0+p)*a.step+i0:][:h]
			for i, v := range s {
				d[i] = v
			}
		}
		return
	}
	if h == 6 {
		row := func(i int) []float32 { return a.data[(i0+i)*a.outer+p0:][:kc] }
		r0, r1, r2, r3, r4, r5 := row(0), row(1), row(2), row(3), row(4), row(5)
		dst = dst[:6*kc]
		for p, v := range r0 {
			d := (*[6]float32)(dst[6*p:])
			d[0], d[1], d[2], d[3], d[4], d[5] = v, r1[p], r2[p], r3[p], r4[p], r5[p]
		}
		return
	}
	for i := range h {
		s := a.data[(i0+i)*a.outer+p0:][:kc]
		d := dst[i:]
		for p, v := range s {
			d[p*h] = v
		}
	}
}

// packB copies columns [j0, j1) and steps [p0, p0+kc) of b to dst, step by step,
// and fills up with zeros to width columns.
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
		if transposes() && kc >= 8 {
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

// packColumn scatters a column of B.
func packColumn(dst []float32, width int, src []float32) {
	for p, v := range src {
		dst[p*width] = v
	}
}

// copyRows copies kc rows of n floats to rows of width floats.
func copyRows(dst []float32, width int, src []float32, step, n, kc int) {
	switch {
	case n == 16 && width == 16:
		for p := range kc {
			*(*[16]float32)(dst[16*p:]) = *(*[16]float32)(src[p*step:])
		}
	default:
		for p := range kc {
			copy(dst[p*width:], src[p*step:][:n])
		}
	}
}
