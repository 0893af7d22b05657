package rope

import (
	"math"
	"sync"
)

// Table holds cos and sin per position, and grows to the positions it is asked
// for. It is safe for use from several goroutines.
type Table struct {
	// Interleaved says that planes are neighbours, (2i, 2i+1), instead of (i, i+dim/2):
	// glm4.
	Interleaved bool
	// Backwards says that planes are turned by the opposite angle: nanochat.
	Backwards bool
	// Growth multiplies what is turned, where all of a head is.
	Growth Growth

	dim    int
	theta  float64
	s      Scaling
	maxPos int

	mu     sync.Mutex
	cached int // dynamic, longrope: the length the frequencies were computed for
	inv    []float32
	scale  float32
	a      angles
}

// Growth is a factor by position, 1 + Beta·log(1 + floor(pos/Every)), that keeps queries
// sharp far out (transformers' llama_4_scaling_beta). Beta 0: none.
type Growth struct {
	Beta  float64
	Every int
}

func (g Growth) at(pos int) float32 {
	if g.Beta == 0 {
		return 1
	}
	return float32(1 + g.Beta*math.Log(float64(1+pos/g.Every)))
}

// angles are rows of dim/2 cosines and sines, one per position.
type angles struct {
	cos, sin []float32
}

// NewTable prepares a table for rotary dimension dim (head_dim, or a part of it);
// the other arguments are those of Frequencies.
func NewTable(dim int, theta float64, s Scaling, maxPos int) (*Table, error) {
	t := &Table{dim: dim, theta: theta, s: s, maxPos: maxPos, cached: maxPos}
	if err := t.compute(maxPos); err != nil {
		return nil, err
	}
	return t, nil
}

// Prepare tells the table the length, max(position)+1, of the batch that comes.
// Only two types care, and do as transformers does. dynamic: the base grows with the
// longest batch so far and goes back when one fits into maxPos again. longrope: the
// batch's length picks the list of factors. Call it before the forward pass, and not
// again before that batch's backward pass.
func (t *Table) Prepare(seqLen int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.cached
	switch {
	case t.s.Type == "longrope" && (seqLen > t.old()) != (was > t.old()):
		t.cached = seqLen
	case t.s.Type == "dynamic" && seqLen > was:
		t.cached = seqLen
	case t.s.Type == "dynamic" && seqLen < t.maxPos && was > t.maxPos:
		t.cached = t.maxPos
	default:
		return
	}
	if err := t.compute(t.cached); err != nil {
		panic(err) // the same arguments passed in NewTable
	}
}

// old is the length up to which longrope uses its short factors.
func (t *Table) old() int {
	if t.s.OriginalMax > 0 {
		return t.s.OriginalMax
	}
	return t.maxPos
}

// Fixed reports whether a batch's length has no influence on the angles.
func (t *Table) Fixed() bool { return t.s.Type != "dynamic" && t.s.Type != "longrope" }

// Same reports whether two lengths, prepared from scratch, have the same angles.
func (t *Table) Same(a, b int) bool {
	switch t.s.Type {
	case "dynamic":
		return max(a, t.maxPos) == max(b, t.maxPos)
	case "longrope":
		return (a > t.old()) == (b > t.old())
	}
	return true
}

// Frequencies returns the inverse frequencies in use and what cos and sin are
// multiplied by.
func (t *Table) Frequencies() (inv []float64, attentionScale float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	inv = make([]float64, len(t.inv))
	for i, f := range t.inv {
		inv[i] = float64(f)
	}
	return inv, float64(t.scale)
}

func (t *Table) compute(seqLen int) error {
	inv, scale, err := Frequencies(t.dim, t.theta, t.s, t.maxPos, seqLen)
	if err != nil {
		return err
	}
	t.inv, t.scale, t.a = make([]float32, len(inv)), float32(scale), angles{}
	for i, f := range inv {
		t.inv[i] = float32(f)
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
	for p := have; p < n; p++ {
		scale := t.scale * t.Growth.at(p)
		for i, f := range t.inv {
			sin, cos := math.Sincos(float64(float32(p) * f))
			a.cos[p*half+i] = float32(cos) * scale
			a.sin[p*half+i] = float32(sin) * scale
		}
	}
	t.a = a
	return a
}
