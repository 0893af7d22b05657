package gemm

import (
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/scratch"
)

// packPanel packs columns [j0, j1), at most 16, and steps [k0, k0+kc) of b: row p of dst is
// the pair 2p and 2p+1 of every column. What is missing of 16 columns and of whole steps is
// zero.
func packPanel(dst []uint32, b *halfMatrix, j0, j1, k0, kc int) {
	n, pairs := j1-j0, kc/2
	if n < panelColumns {
		clear(dst)
	} else {
		clear(dst[pairs*panelColumns:])
	}
	if b.outer == 1 {
		src := b.data[k0*b.step+j0:]
		p := 0
		if n == panelColumns && pairs > 0 {
			pair16(pairs, (*uint16)(&src[0]), 2*uintptr(b.step), &dst[0])
			p = pairs
		}
		for ; 2*p < kc; p++ {
			packPair(dst[p*panelColumns:], src[2*p*b.step:], b.step, n, 2*p+1 < kc)
		}
		return
	}
	j := 0
	for ; j+8 <= n; j += 8 {
		packColumns(dst[j:], b.data[(j0+j)*b.outer+k0:], b.outer, 8, kc)
	}
	if j < n {
		packColumnsOneByOne(dst[j:], b.data[(j0+j)*b.outer+k0:], b.outer, n-j, 0, kc)
	}
}

// packPair makes n columns of two rows, the second of which may be missing, pairs.
func packPair(dst []uint32, src []driver.BF16, step, n int, both bool) {
	for j := range n {
		dst[j] = uint32(src[j])
		if both {
			dst[j] |= uint32(src[step+j]) << 16
		}
	}
}

// packColumns packs 8 columns of kc numbers, outer apart.
func packColumns(dst []uint32, src []driver.BF16, outer, n, kc int) {
	whole := kc &^ 15
	if whole > 0 {
		transpose8(whole/16, (*float32)(unsafe.Pointer(&src[0])), 2*uintptr(outer), (*float32)(unsafe.Pointer(&dst[0])), 4*panelColumns)
	}
	packColumnsOneByOne(dst, src, outer, n, whole, kc)
}

// packColumnsOneByOne packs steps [k0, kc) of n columns.
func packColumnsOneByOne(dst []uint32, src []driver.BF16, outer, n, k0, kc int) {
	for j := range n {
		column := src[j*outer : j*outer+kc]
		for p := k0 / 2; 2*p < kc; p++ {
			v := uint32(column[2*p])
			if 2*p+1 < kc {
				v |= uint32(column[2*p+1]) << 16
			}
			dst[p*panelColumns+j] = v
		}
	}
}

// packRows copies rows [i0, i1) and steps [k0, k0+kc) of a to w.a, each row filled up to
// whole steps with zeros.
func (w *halfWorkspace) packRows(a *halfMatrix, i0, i1, k0, kc int) {
	k := padded(kc)
	if a.step == 1 {
		for i := i0; i < i1; i++ {
			row := w.a[(i-i0)*k : (i-i0+1)*k]
			clear(row[copy(row, a.data[i*a.outer+k0:i*a.outer+k0+kc]):])
		}
		return
	}
	// Columns become rows by way of B's panels: 16 columns as pairs of k, transposed.
	w.pairs = scratch.Sized(w.pairs, k/2*panelColumns)
	columns := halfMatrix{data: a.data, outer: 1, step: a.step}
	for i := i0; i < i1; i += panelColumns {
		n := min(panelColumns, i1-i)
		packPanel(w.pairs, &columns, i, i+n, k0, kc)
		w.transposePairs(w.a[(i-i0)*k:], n, k/2)
	}
}

// transposePairs writes n columns of w.pairs as rows of pairs pairs, a multiple of 16.
func (w *halfWorkspace) transposePairs(dst []driver.BF16, n, pairs int) {
	if n < panelColumns {
		for i := range n {
			for p := range pairs {
				v := w.pairs[p*panelColumns+i]
				dst[2*(i*pairs+p)], dst[2*(i*pairs+p)+1] = driver.BF16(v), driver.BF16(v>>16)
			}
		}
		return
	}
	for p := 0; p < pairs; p += 8 {
		transpose8(2, (*float32)(unsafe.Pointer(&w.pairs[p*panelColumns])), 4*panelColumns, (*float32)(unsafe.Pointer(&dst[2*p])), 4*uintptr(pairs))
	}
}
