package main

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
)

// job is a case with its operands in memory.
type job struct {
	call    func()
	outputs []output
	// again: every call leaves the same, so that what the last timed one left is checked, too.
	again bool
}

// checks are how many entries of every output are compared.
const checks = 256

// output is a matrix that a call writes.
type output struct {
	name       string
	rows, cols int
	each       int // entries that are picked from a row: many where they share most of the work
	read       func(i int) float64
	// want is what the entries of a row at those columns are in float64.
	want func(row int, cols []int) []expected
}

// expected is an entry in float64, and how far off float32 and bf16 may be.
type expected struct{ value, allowed float64 }

// within is a value known but for a share of itself.
func within(value, share float64) expected { return expected{value, share * math.Abs(value)} }

// total is a sum over many terms.
type total struct {
	sum, squares, slack float64
	n                   int
}

func (t *total) add(x float64) {
	t.sum += x
	t.squares += x * x
	t.n++
}

// blurred adds a term that the kernel only has within e.
func (t *total) blurred(x, e float64) {
	t.add(x)
	t.slack += e
}

// rounded is the sum of terms that are rounded by up to that share of themselves and then
// added in float32. The operands are independent normal numbers, so partial sums in any
// order stay within |sum| + 5·sqrt(Σ terms²). n roundings of those to nearest, which are
// independent, add up to 8·sqrt(n) half ulps (eight standard deviations, at least);
// tensor cores truncate instead, always downwards, but once for eight terms or more. The
// terms' own roundings are independent and uniform, with a standard deviation of share/sqrt(3) of a
// term at most: four shares of their root sum of squares are seven of its deviations.
func (t total) rounded(share float64) expected {
	n := float64(t.n)
	partial := math.Abs(t.sum) + 5*math.Sqrt(t.squares)
	return expected{t.sum, 0x1p-23*partial*(8*math.Sqrt(n)+n/8) + 4*share*math.Sqrt(t.squares) + t.slack}
}

// Shares by which a number is off that was rounded to bf16, and one that came of a few
// operations in float32, exp and tanh of the GPU's among them (2^-21 each, CUDA's guide).
const (
	bf16Share  = 0x1p-8
	exactShare = 0x1p-18
)

// each calls f for every column: what cheap entries are made of.
func each(f func(row, col int) expected) func(int, []int) []expected {
	return func(row int, cols []int) []expected {
		out := make([]expected, len(cols))
		for i, c := range cols {
			out[i] = f(row, c)
		}
		return out
	}
}

// matrix is an output whose entries are independent of one another.
func matrix(name string, rows, cols int, read func(int) float64, f func(row, col int) expected) output {
	return output{name: name, rows: rows, cols: cols, each: 1, read: read, want: each(f)}
}

// vector is an output without rows.
func vector(name string, n int, read func(int) float64, f func(i int) expected) output {
	return matrix(name, n, 1, read, func(i, _ int) expected { return f(i) })
}

// floats reads entries of s.
func (r *room) floats(s driver.F32) func(int) float64 {
	return func(i int) float64 {
		x, err := driver.Read(r.dev, s.Sub(i, i+1))
		must(err)
		return float64(x[0])
	}
}

// halves reads entries of s.
func (r *room) halves(s driver.Slice[driver.BF16]) func(int) float64 {
	return func(i int) float64 {
		x, err := driver.Read(r.dev, s.Sub(i, i+1))
		must(err)
		var wide [1]float32
		cast.WidenHost(x, wide[:])
		return float64(wide[0])
	}
}

// picked are entries of one row and what they should be.
type picked struct {
	row  int
	cols []int
	want []expected
}

// sample computes random entries of o in float64, always the same of a case.
func (o output) sample(name string) []picked {
	h := fnv.New64a()
	h.Write([]byte(name + o.name))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	rows := make([]picked, min((checks+o.each-1)/o.each, o.rows*o.cols))
	for i := range rows {
		rows[i].row = r.IntN(o.rows)
		for range min(o.each, o.cols) {
			rows[i].cols = append(rows[i].cols, r.IntN(o.cols))
		}
	}
	host := cpu.New(0)
	defer host.Close()
	host.Parallel(len(rows), func(i int) { rows[i].want = o.want(rows[i].row, rows[i].cols) })
	return rows
}

// compare says what is worst among the picked entries: "" where all are as they should be.
func (o output) compare(rows []picked) string {
	wrong, seen, text, worst := 0, 0, "", 0.0
	for _, p := range rows {
		for i, c := range p.cols {
			seen++
			got, want := o.read(p.row*o.cols+c), p.want[i]
			off := math.Abs(got - want.value)
			if off <= want.allowed {
				continue
			}
			wrong++
			if x := off / want.allowed; text == "" || x > worst {
				worst, text = x, fmt.Sprintf("%s[%d,%d] is %.6g, float64 has %.6g, %.2g off is allowed", o.name, p.row, c, got, want.value, want.allowed)
			}
		}
	}
	if wrong == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d entries: %s", wrong, seen, text)
}

// verifier holds what a job's outputs should be.
type verifier struct {
	outputs []output
	picked  [][]picked
}

// verify computes it, from what lies in memory now.
func (j job) verify(name string) verifier {
	v := verifier{outputs: j.outputs}
	for _, o := range j.outputs {
		v.picked = append(v.picked, o.sample(name))
	}
	return v
}

// Results of a check.
const (
	good = "ok"
	bad  = "BAD"
)

// verdict is good, or bad and why.
func (v verifier) verdict() string {
	var wrong []string
	for i, o := range v.outputs {
		if s := o.compare(v.picked[i]); s != "" {
			wrong = append(wrong, s)
		}
	}
	if len(wrong) == 0 {
		return good
	}
	return bad + ": " + strings.Join(wrong, "; ")
}
