package feature

import (
	"slices"
	"sync"

	"dataflex.dev/dataflex/data/rng"
)

// TRAK is the matrix of traker's BasicProjector on a CPU: blocks of 128 columns, or of all
// columns where there are fewer (its block_size is min(proj_dim, 128)), block b row by row from
// MT19937 seeded with seed + 1000·b, an entry being +1 if bit 20 of the first of its two words is
// 0 and −1 otherwise (torch's scalar Bernoulli(½) on CPUs without MKL). It implements
// gradproj.Source.
//
// The stream can only be read forwards, and backward needs its last rows first: the
// generator's state is saved at the marks, the rows where those reads begin.
type TRAK struct {
	seed   uint64
	width  int // columns that the stream has a row
	marks  []int
	blocks []trakBlock
}

type trakBlock struct {
	once   sync.Once
	states [][]byte // at the marks
	stream *rng.Torch
	row    int
}

// trakColumns is the widest block; an entry takes two words.
const trakColumns = 128

// NewTRAK prepares the matrix for dim columns; marks are the rows at which reads begin.
func NewTRAK(seed uint64, dim int, marks []int) *TRAK {
	marks = slices.Clone(marks)
	slices.Sort(marks)
	return &TRAK{seed: seed, width: min(dim, trakColumns), marks: slices.Compact(marks), blocks: make([]trakBlock, (dim+trakColumns-1)/trakColumns)}
}

// Signs writes rows row0 … row0+n-1 of a block, 128 sign bits each; those beyond the matrix's
// columns are 0.
func (t *TRAK) Signs(dst []uint64, block, row0, n int) {
	b := &t.blocks[block]
	b.once.Do(func() { b.index(t.seed+1000*uint64(block), t.marks, t.width) })
	b.seek(t.marks, row0, t.width)
	for i := range n {
		dst[2*i] = signs(b.stream, min(t.width, 64))
		dst[2*i+1] = signs(b.stream, max(t.width-64, 0))
	}
	b.row += n
}

func signs(g *rng.Torch, n int) uint64 {
	var w uint64
	for j := range n {
		w |= uint64(^g.Uint32()>>20&1) << j
		g.Uint32()
	}
	return w
}

// index reads the stream once, up to the last mark.
func (b *trakBlock) index(seed uint64, marks []int, width int) {
	b.stream = rng.NewTorch(seed)
	for _, m := range marks {
		b.skip(m, width)
		b.states = append(b.states, b.stream.State())
	}
}

func (b *trakBlock) skip(row, width int) {
	for ; b.row < row; b.row++ {
		for range 2 * width {
			b.stream.Uint32()
		}
	}
}

// seek goes to a row, from the nearest mark before it if that is shorter.
func (b *trakBlock) seek(marks []int, row, width int) {
	i, found := slices.BinarySearch(marks, row)
	if !found {
		i--
	}
	if i >= 0 && (row < b.row || marks[i] > b.row) {
		if err := b.stream.SetState(b.states[i]); err != nil {
			panic(err) // the states are State's own
		}
		b.row = marks[i]
	}
	b.skip(row, width)
}
