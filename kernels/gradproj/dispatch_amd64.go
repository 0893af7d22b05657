package gradproj

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"dataflex.dev/dataflex/kernels/simd"
)

//go:generate go run ./asm -out gradproj_amd64.s -stubs gradproj_amd64.go -pkg gradproj

// vectors reports whether the AVX2 loops run. They follow package simd's level and
// give the same bits as the portable ones.
func vectors() bool { return simd.Level() != "generic" && cpu.X86.HasBMI2 }

// wide reports whether AVX-512 draws the signs, twice as many at a time: the same bits again.
func wide() bool { return simd.Level() == "avx512" && cpu.X86.HasAVX512BW }

func signTile(k *roundKeys, tile uint64, block0, blocks int, dst []byte, stride int) {
	if !vectors() {
		signTileGeneric(k, tile, block0, blocks, dst, stride)
		return
	}
	_ = dst[7*stride+16*blocks-1]
	ctr := [3]uint32{uint32(tile), uint32(tile >> 32), rademacherStream}
	if wide() && blocks > 1 {
		signTileAVX512(&k[0][0][0], &ctr[0], 8*block0, blocks/2, &dst[0], stride)
		done := blocks &^ 1
		block0, blocks, dst = block0+done, blocks-done, dst[16*done:]
	}
	if blocks > 0 {
		signTileAVX2(&k[0][0][0], &ctr[0], 8*block0, blocks, &dst[0], stride)
	}
}

func philoxGroups(k *roundKeys, x []uint32) {
	if !vectors() {
		philoxGroupsGeneric(k, x)
		return
	}
	philoxAVX2(&k[0][0][0], &x[0], len(x)/32)
}

func buildTable(rows *[8][lanes]float32, t *table) {
	if !vectors() {
		buildTableGeneric(rows, t)
		return
	}
	buildTableAVX2(&rows[0][0], &t[0][0])
}

func lookup(t *[4]table, bits []byte, stride, cols int, acc []float32) {
	if !vectors() {
		lookupGeneric(t, bits, stride, cols, acc)
		return
	}
	_, _ = bits[3*stride+cols-1], acc[cols*lanes-1]
	lookup4AVX2(&t[0][0][0], &bits[0], stride, cols, &acc[0])
}

func scatter(rows [][lanes]float32, plan []uint32, entries int, acc []float32) {
	if !vectors() {
		scatterGeneric(rows, plan, entries, acc)
		return
	}
	_ = plan[len(rows)*entries-1]
	scatterAVX2(&rows[0][0], &plan[0], len(rows), entries, &acc[0])
}

// packRows transposes the same n values (a multiple of 8) of eight samples to dst [n][8].
func packRows(src *[lanes][]float32, n int, dst [][lanes]float32) {
	if !vectors() {
		packGeneric(src, n, dst)
		return
	}
	var p [lanes]*float32
	for l, s := range src {
		p[l] = unsafe.SliceData(s[:n])
	}
	_ = dst[n-1]
	packAVX2(&p[0], n, &dst[0][0])
}

func adamDirection(g, m, v []float32, c *direction) {
	if vectors() {
		if n := len(g) &^ 7; n > 0 {
			_, _ = m[n-1], v[n-1]
			adamAVX2(&g[0], &m[0], &v[0], n, &c.grad1)
			g, m, v = g[n:], m[n:], v[n:]
		}
	}
	adamGeneric(g, m, v, c)
}

func normals(x []float32, scale float32) {
	if !vectors() {
		normalsGeneric(x, scale)
		return
	}
	boxMullerAVX2((*uint32)(unsafe.Pointer(&x[0])), len(x)/16, &scale)
}
