package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/report/chart"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/gradproj"
)

var kinds = []gradproj.Kind{gradproj.Rademacher, gradproj.Gaussian, gradproj.SJLT}

// result is one kind at one dimension.
type result struct {
	rms     float64 // of the inner products' errors, over pairs of rows and seeds
	overlap float64 // share of the exact selection that is selected, mean over seeds
}

// study is the measurements.
type study struct {
	rows, size, seeds, pool, top int
	dims                         []int
	law                          []float64 // √((1 + mean cosine²)/dim)
	results                      map[gradproj.Kind][]result
}

// measure projects the unit rows with every kind, dimension and seed.
func measure(o options, rows [][]float32) (*study, error) {
	n := len(rows)
	s := &study{rows: n, size: len(rows[0]), seeds: o.seeds, pool: n - n/4, top: o.top, dims: o.dims, results: map[gradproj.Kind][]result{}}
	if s.top < 1 {
		s.top = s.pool / 4
	}
	if s.top > s.pool {
		return nil, fmt.Errorf("--top %d is more than the pool's %d rows", s.top, s.pool)
	}
	dev := cpu.New(o.threads)
	defer dev.Close()
	exact := gram(dev, slices.Concat(rows...), n)
	var square float64
	for i := range n {
		for j := range i {
			square += float64(exact[i][j] * exact[i][j])
		}
	}
	square /= float64(n * (n - 1) / 2)
	chosen := s.selection(exact)
	for _, dim := range o.dims {
		s.law = append(s.law, math.Sqrt((1+square)/float64(dim)))
		for _, kind := range kinds {
			var r result
			for seed := range o.seeds {
				projected, err := project(dev, kind, dim, uint64(seed), rows)
				if err != nil {
					return nil, err
				}
				g := gram(dev, projected, n)
				r.rms += meanSquare(g, exact) / float64(o.seeds)
				r.overlap += overlap(chosen, s.selection(g)) / float64(o.seeds)
			}
			r.rms = math.Sqrt(r.rms)
			s.results[kind] = append(s.results[kind], r)
		}
	}
	return s, nil
}

// project projects all rows at once: existing rows are equivalent to a LoRA pair of rank 1 with
// a single token per sample, V = 1 and no B.
func project(dev driver.Device, kind gradproj.Kind, dim int, seed uint64, rows [][]float32) ([]float32, error) {
	n, size := len(rows), len(rows[0])
	p, err := gradproj.New(kind, dim, seed, size, gradproj.Options{})
	if err != nil {
		return nil, err
	}
	ones, segments := make([]float32, n), make([]int32, n+1)
	for i := range n {
		ones[i], segments[i+1] = 1, int32(i+1)
	}
	out, norms := make([]float32, n*dim), make([]float64, n)
	p.Accumulate(dev, gradproj.Factors{
		X: driver.FromHost(slices.Concat(rows...)), U: driver.FromHost(ones), V: driver.FromHost(ones), DY: driver.FromHost([]float32{}),
		In: size, Rank: 1, Scale: 1, Segments: segments,
	}, nil, driver.FromHost(out), norms)
	return out, nil
}

// gram is the matrix of inner products of n rows.
func gram(dev driver.Device, rows []float32, n int) [][]float32 {
	g := make([]float32, n*n)
	size := len(rows) / n
	x := driver.FromHost(rows)
	gemm.Run(dev, gemm.NT, 1, gemm.Dense(x, n, size), gemm.Dense(x, n, size), 0, gemm.Dense(driver.FromHost(g), n, n))
	return slices.Collect(slices.Chunk(g, n))
}

// meanSquare is the mean square of the differences over pairs of different rows.
func meanSquare(a, b [][]float32) float64 {
	var sum float64
	var pairs int
	for i := range a {
		for j := range i {
			e := float64(a[i][j] - b[i][j])
			sum, pairs = sum+e*e, pairs+1
		}
	}
	return sum / float64(pairs)
}

// selection is LESS's: the pool's rows with the largest mean cosine to the evaluation rows.
func (s *study) selection(g [][]float32) []int {
	score := make([]float64, s.pool)
	order := make([]int, s.pool)
	for i := range score {
		order[i] = i
		for e := s.pool; e < s.rows; e++ {
			score[i] += float64(g[e][i]) / math.Sqrt(float64(g[e][e]*g[i][i]))
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(score[b], score[a]) })
	return order[:s.top]
}

// overlap is the share of a that is in b.
func overlap(a, b []int) float64 {
	n := 0
	for _, i := range a {
		if slices.Contains(b, i) {
			n++
		}
	}
	return float64(n) / float64(len(a))
}

func (s *study) writeTable(w io.Writer) error {
	text := fmt.Sprintf("%d unit gradients of %d entries, %d seeds; root mean square error of their inner products, and the share of the exact top %d of %d that is found.\n\n", s.rows, s.size, s.seeds, s.top, s.pool)
	text += "| dim | law √((1+c²)/dim) | rademacher | gaussian | sjlt | top, rademacher | top, gaussian | top, sjlt |\n|---|---|---|---|---|---|---|---|\n"
	for i, dim := range s.dims {
		text += fmt.Sprintf("| %d | %.5f |", dim, s.law[i])
		for _, k := range kinds {
			text += fmt.Sprintf(" %.5f |", s.results[k][i].rms)
		}
		for _, k := range kinds {
			text += fmt.Sprintf(" %.1f %% |", 100*s.results[k][i].overlap)
		}
		text += "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// draw writes error against dimension, both logarithmic, as a PNG.
func (s *study) draw(path string) error {
	a := chart.Axes{
		Title: fmt.Sprintf("Inner products of %d unit gradients (%d entries, %d seeds)", s.rows, s.size, s.seeds),
		X:     "dimension", Y: "root mean square error", Log: true,
	}
	var x []float64
	for _, dim := range s.dims { // ticks at the measured dimensions
		x = append(x, float64(dim))
		a.XTicks = append(a.XTicks, float64(dim))
	}
	var lines []chart.Line
	for _, k := range kinds {
		line := chart.Line{Name: string(k), X: x}
		for _, r := range s.results[k] {
			line.Y = append(line.Y, r.rms)
		}
		lines = append(lines, line)
	}
	return chart.Lines(path, a, append(lines, chart.Line{Name: "law", X: x, Y: s.law, Dashed: true}))
}
