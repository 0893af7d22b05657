package feature

import "dataflex/data/rng"

// TRAK draws the matrix of traker's BasicProjector on a CPU: blocks of 128
// columns, block b row by row from MT19937 seeded with seed + 1000·b, an entry
// being +1 where bit 20 of the first of its two words is 0 and −1 otherwise
// (torch's scalar Bernoulli(½) on CPUs without MKL). It implements
// gradproj.Source.
type TRAK struct {
	Seed uint64

	stream *rng.Torch
	block  int
	row    int
}

// Columns is the width of a block.
const Columns = 128

// Rows writes rows row0 … row0+n-1 of a block, 128 entries each. Blocks are
// sequential streams: going back restarts one.
func (t *TRAK) Rows(dst []float32, block, row0, n int) {
	if t.stream == nil || t.block != block || row0 < t.row {
		t.stream, t.block, t.row = rng.NewTorch(t.Seed+1000*uint64(block)), block, 0
	}
	for ; t.row < row0; t.row++ {
		for range 2 * Columns {
			t.stream.Uint32()
		}
	}
	for i := range n * Columns {
		dst[i] = 1
		if t.stream.Uint32()>>20&1 == 1 {
			dst[i] = -1
		}
		t.stream.Uint32()
	}
	t.row += n
}
