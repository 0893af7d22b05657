package gemm

import "dataflex.dev/dataflex/driver/cpu"

// Tiles is a matrix on the host whose elements are made when they are asked for: Read
// writes rows r0 to r1 and columns c0 to c1 to dst, the rows ld floats apart. It is called
// from many goroutines.
type Tiles interface {
	Read(dst []float32, ld, r0, r1, c0, c1 int)
}

// RunTiles is Run, NN or NT, with B [rows, cols] read in tiles as its panels are packed:
// the bits are those of Run with all of B in memory. A cut of C's rows reads B once more.
func RunTiles(dev *cpu.Device, tr Transpose, alpha float32, a F32, b Tiles, rows, cols int, beta float32, c F32) {
	if tr == TN {
		panic(badTranspose)
	}
	k := checkShapes(tr, a, F32{Rows: rows, Cols: cols, Ld: cols}, beta, c)
	p := newProblem(tr, k, alpha, a.Data.Host(), a.Ld, nil, cols, beta, c)
	p.b.tiles, p.b.rows = b, tr == NT
	p.run(dev)
}
