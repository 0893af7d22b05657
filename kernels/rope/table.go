package rope

import (
	"math"
	"slices"
	"sync"
)

// Table holds cos and sin per position, and grows to the positions it is asked
// for. It is safe for use from several goroutines.
type Table struct {
	// Interleaved: planes are neighbours, (2i, 2i+1), instead of (i, i+dim/2):
	// glm4.
	Interleaved bool
	// Backwards: planes are rotated by the opposite angle, as in nanochat.
	Backwards bool
	// Offset is the number of elements of a head before those that are rotated.
	Offset int
	// Growth multiplies the rotated elements, if all of a head is rotated.
	Growth Growth

	dim    int // elements that are rotated
	share  int // dim, or one less: what the frequencies are computed for
	theta  float64
	s      Scaling
	maxPos int

	mu     sync.Mutex
	cached int         // dynamic: the length the frequencies were computed for
	inv    [][]float32 // per list
	scale  float32
	a      angles
}

// Growth is a factor by position, 1 + Beta·log(1 + floor((pos + First)/Every)), that keeps
// queries sharp far out (transformers' llama_4_scaling_beta; llama4's attn_scale,
// arXiv:2501.19399). Beta 0: none.
type Growth struct {
	Beta  float64
	Every int
	First int `json:",omitempty"` // the number of the first position: llama4 counts from 1
}

func (g Growth) at(pos int) float32 {
	if g.Beta == 0 {
		return 1
	}
	return float32(1 + g.Beta*math.Log(float64(1+(pos+g.First)/g.Every)))
}

// angles are rows of dim/2 cosines and sines: one per position, or one per position and
// list of factors.
type angles struct {
	cos, sin []float32
}

// NewTable prepares a table for rotary dimension dim (head_dim, or a part of it);
// the other arguments are those of Frequencies. If dim is odd, one more element is rotated,
// with the frequencies of dim: transformers 5, where partial_rotary_factor gives one.
func NewTable(dim int, theta float64, s Scaling, maxPos int) (*Table, error) {
	t := &Table{dim: dim + dim%2, share: dim, theta: theta, s: s, maxPos: maxPos, cached: maxPos}
	if err := t.compute(maxPos); err != nil {
		return nil, err
	}
	return t, nil
}

// NewGrowth is a table without rotation: it multiplies heads of that even dimension by g.
func NewGrowth(dim int, g Growth) *Table {
	t := &Table{Growth: g, dim: dim, share: dim, maxPos: 1, scale: 1}
	t.inv = [][]float32{make([]float32, dim/2)}
	return t
}

// Prepare sets the length, max(position)+1, of the next batch. Only type dynamic depends on
// it, as in transformers: the base grows with the longest batch so far, and is reset by one
// that fits into maxPos. Call it before the forward pass, and
// not again before that batch's backward pass.
func (t *Table) Prepare(seqLen int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.s.Type != "dynamic" {
		return
	}
	was := t.cached
	switch {
	case seqLen > was:
		t.cached = seqLen
	case seqLen < t.maxPos && was > t.maxPos:
		t.cached = t.maxPos
	default:
		return
	}
	if err := t.compute(t.cached); err != nil {
		panic(err) // the same arguments passed in NewTable
	}
}

// Rows returns the table's row for every token of packed sequences: pos [T] are their
// positions, and sequence i is [segments[i], segments[i+1]). It is the position itself but
// for longrope, whose table has two rows for each, of the short and of the long factors:
// every sequence's own length, max(position)+1, says which, as transformers does for a
// batch of that sequence alone.
func (t *Table) Rows(pos, segments []int32) []int32 {
	if t.lists() == 1 {
		return pos
	}
	rows := make([]int32, len(pos))
	for i := range segments[1:] {
		from, to := segments[i], segments[i+1]
		list := int32(0)
		if int(slices.Max(pos[from:to])) >= t.old() {
			list = 1
		}
		for j := from; j < to; j++ {
			rows[j] = 2*pos[j] + list
		}
	}
	return rows
}

// lists is how many rows the table has for a position.
func (t *Table) lists() int {
	if t.s.Type == "longrope" {
		return 2
	}
	return 1
}

// old is the length up to which longrope uses its short factors.
func (t *Table) old() int {
	if t.s.OriginalMax > 0 {
		return t.s.OriginalMax
	}
	return t.maxPos
}

// Fixed reports whether a batch's length has no influence on the angles of its sequences.
func (t *Table) Fixed() bool { return t.s.Type != "dynamic" }

// Same reports whether sequences of two lengths, prepared from scratch, have the same
// angles.
func (t *Table) Same(a, b int) bool {
	switch t.s.Type {
	case "dynamic":
		return max(a, t.maxPos) == max(b, t.maxPos)
	case "longrope":
		return (a > t.old()) == (b > t.old())
	}
	return true
}

// Frequencies returns the inverse frequencies in use, the short ones of longrope, and what
// cos and sin are multiplied by.
func (t *Table) Frequencies() (inv []float64, attentionScale float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	inv = make([]float64, len(t.inv[0]))
	for i, f := range t.inv[0] {
		inv[i] = float64(f)
	}
	return inv, float64(t.scale)
}

func (t *Table) compute(seqLen int) error {
	lengths := []int{seqLen}
	if t.lists() == 2 {
		lengths = []int{t.old(), t.old() + 1}
	}
	t.inv, t.a = nil, angles{}
	for _, n := range lengths {
		inv, scale, err := Frequencies(t.share, t.theta, t.s, t.maxPos, n)
		if err != nil {
			return err
		}
		list := make([]float32, len(inv))
		for i, f := range inv {
			list[i] = float32(f)
		}
		t.inv, t.scale = append(t.inv, list), float32(scale)
	}
	return nil
}

// grown returns at least n rows.
func (t *Table) grown(n int) angles {
	t.mu.Lock()
	defer t.mu.Unlock()
	half := t.dim / 2
	have := len(t.a.cos) / half
	if n <= have {
		return t.a
	}
	n = max(n, 2*have, 64)
	a := angles{make([]float32, n*half), make([]float32, n*half)}
	copy(a.cos, t.a.cos)
	copy(a.sin, t.a.sin)
	for row := have; row < n; row++ {
		p := row / len(t.inv)
		scale := t.scale * t.Growth.at(p)
		for i, f := range t.inv[row%len(t.inv)] {
			sin, cos := math.Sincos(float64(float32(p) * f))
			a.cos[row*half+i] = float32(cos) * scale
			a.sin[row*half+i] = float32(sin) * scale
		}
	}
	t.a = a
	return a
}
