package record

import (
	"math"
	"math/bits"

	"dataflex.dev/dataflex/data"
)

// lengthBins is the number of length classes: up to 32 tokens, then doubling, the last one
// unbounded.
const lengthBins = 10

// LengthBin is the class of a row by its tokens: 0 up to 32, 1 up to 64, … 9 above 8192.
func LengthBin(tokens int) int {
	return min(bits.Len(uint(max(tokens-1, 0)>>5)), lengthBins-1)
}

// sampled is the number of rows in the sample of a large pool.
const sampled = 1000

// PoolOf describes the training rows.
func PoolOf(rows []data.Example) Pool {
	p := Pool{Rows: len(rows), Datasets: map[string]int{}, Lengths: make([]int, lengthBins)}
	for i := range rows {
		p.Datasets[rows[i].Dataset]++
		p.Packed = p.Packed || len(rows[i].Members) > 1
		p.Lengths[LengthBin(len(rows[i].InputIDs))]++
	}
	n := min(len(rows), sampled)
	for i := range n {
		p.Sample = append(p.Sample, rows[i*len(rows)/n].ID)
	}
	return p
}

// Histogram counts values in equal bins from Low to High, both included.
type Histogram struct {
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	All    []int   `json:"all"`
	Chosen []int   `json:"chosen"` // of these, the chosen rows
}

const scoreBins = 60

// bin is the place of a value.
func (h *Histogram) bin(v float64) int {
	if h.High <= h.Low {
		return 0
	}
	// Halved first: the range of two finite numbers may overflow.
	return min(int((v/2-h.Low/2)/(h.High/2-h.Low/2)*float64(len(h.All))), len(h.All)-1)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// histogram returns the histogram of the finite scores, and the number of the others.
func histogram(score []float64, chosen func(int) bool) (h *Histogram, unscored int) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range score {
		if finite(v) {
			low, high = min(low, v), max(high, v)
		} else {
			unscored++
		}
	}
	if low > high {
		return nil, unscored
	}
	h = &Histogram{Low: low, High: high, All: make([]int, scoreBins), Chosen: make([]int, scoreBins)}
	for i, v := range score {
		if !finite(v) {
			continue
		}
		b := h.bin(v)
		h.All[b]++
		if chosen(i) {
			h.Chosen[b]++
		}
	}
	return h, unscored
}
