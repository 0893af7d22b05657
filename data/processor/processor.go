// Package processor turns samples into token ids and labels: supervised
// fine-tuning (SFT) with truncation, masking and packing, and pre-training.
//
// It follows LLaMA-Factory 0.9.4 data/processor/{supervised,pretrain, processor_utils}.py
// number for number, including what depends on preprocessing_num_workers and
// preprocessing_batch_size: neither affects speed here, but with packing both decide which rows
// share a block.
package processor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data"
)

// Options are the data arguments of a run under upstream's names and with upstream's meaning;
// the zero value of each except CutoffLen is upstream's default.
type Options struct {
	CutoffLen     int   // cutoff_len as the user gave it
	Packing       *bool // packing; nil = only in pre-training
	NeatPacking   bool  // implies packing
	TrainOnPrompt bool
	MaskHistory   bool

	Workers   int // preprocessing_num_workers; 0 = 1
	BatchSize int // preprocessing_batch_size; 0 = 1000, below 0 = one batch of all rows

	Threads int // goroutines; 0 = GOMAXPROCS. The result does not depend on it.
}

// cutoff is the longest example. Upstream subtracts one when packing was requested, but not
// when it is pre-training's default.
func (o Options) cutoff() int {
	if o.NeatPacking || o.Packing != nil && *o.Packing {
		return o.CutoffLen - 1
	}
	return o.CutoffLen
}

func (o Options) packs(byDefault bool) bool {
	if o.Packing != nil && !o.NeatPacking {
		return *o.Packing
	}
	return o.NeatPacking || byDefault
}

func (o Options) check() error {
	if o.cutoff() < 1 {
		return fmt.Errorf("cutoff_len is %d; it must be at least 1, and at least 2 with packing", o.CutoffLen)
	}
	if o.TrainOnPrompt && o.MaskHistory {
		return errors.New("`train_on_prompt` is incompatible with `mask_history`: set one of them to false")
	}
	return nil
}

// Batches cuts n rows as upstream's map does: into one contiguous share per worker (the first n
// mod workers of them one row longer), and each share into batches. Rows are only packed
// together within a batch.
func (o Options) Batches(n int) [][2]int {
	workers := min(max(o.Workers, 1), n)
	size := cmp.Or(o.BatchSize, 1000)
	var out [][2]int
	start := 0
	for w := range workers {
		end := start + n/workers
		if w < n%workers {
			end++
		}
		step := size
		if step < 0 {
			step = end - start
		}
		for ; start < end; start = min(start+step, end) {
			out = append(out, [2]int{start, min(start+step, end)})
		}
	}
	return out
}

// Encoder turns samples into the examples of one stage, row by row, and where rows are packed,
// batch by batch. Its methods are safe for concurrent use.
type Encoder interface {
	// Encode makes an example of a row, or says why it cannot be used. Errors are for faults
	// that should stop the run.
	Encode(s *data.Sample) (data.Example, *Dropped, error)
	// Packs reports whether the results of Encode must still go through Pack.
	Packs() bool
	// Batches are the half-open ranges of rows, usable or not, that are packed together.
	Batches(rows int) [][2]int
	// Pack passes the rows made of a batch's usable examples to emit, until emit fails.
	Pack(batch []data.Example, emit func(data.Example) error) error
	// Empty is the error for a set of so many rows, tokens in all, none of which is usable.
	Empty(rows, tokens int, dropped []Dropped) error
}

// Dropped is a row that produced no example.
type Dropped struct {
	data.ID
	Kind   string // what is wrong, in words shared by all rows of this kind
	Detail string // what is wrong with this row; may be empty
}

func (d Dropped) reason() string {
	if d.Detail == "" {
		return d.Kind
	}
	return d.Kind + ": " + d.Detail
}

// The kinds of dropped rows, beside those of the converters.
const (
	noAnswer  = "no answer"
	noPrompt  = "no prompt"
	oddPrompt = "the prompt does not end with a question"
	tooLong   = "too long to pack"
)

// dropBroken returns why a sample cannot be used, if the converter found a reason.
func dropBroken(s *data.Sample) (Dropped, bool) {
	kind, detail, _ := strings.Cut(s.Broken, ": ")
	return Dropped{ID: s.ID, Kind: kind, Detail: detail}, s.Broken != ""
}

// Warnings summarises dropped rows: a line for each dataset and kind, with the first reason and
// the first rows.
func Warnings(dropped []Dropped) []string {
	var out []string
	for _, g := range group(dropped, func(d Dropped) string { return d.Dataset + "\x00" + d.Kind }) {
		out = append(out, fmt.Sprintf("dataset %s: dropped %s: %s (%s)", g[0].Dataset, count(len(g), "row"), g[0].reason(), rows(g)))
	}
	return out
}

// group groups rows by key, in order of first appearance.
func group(dropped []Dropped, key func(Dropped) string) [][]Dropped {
	var out [][]Dropped
	place := map[string]int{}
	for _, d := range dropped {
		k := key(d)
		i, ok := place[k]
		if !ok {
			i = len(out)
			place[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], d)
	}
	return out
}

// rows lists the first few rows of a group.
func rows(g []Dropped) string {
	const shown = 8
	var names []string
	for _, d := range g[:min(len(g), shown)] {
		names = append(names, fmt.Sprint(d.Row))
	}
	out := "rows " + strings.Join(names, ", ")
	if len(g) == 1 {
		out = "row " + names[0]
	}
	if len(g) > shown {
		out += fmt.Sprintf(" and %d more", len(g)-shown)
	}
	return out
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// nothingLeft is the error of a run all of whose rows were dropped: how many of each kind, and
// the first of them.
func nothingLeft(samples int, dropped []Dropped) error {
	var kinds []string
	groups := group(dropped, func(d Dropped) string { return d.Kind })
	slices.SortStableFunc(groups, func(a, b []Dropped) int { return len(b) - len(a) })
	for _, g := range groups {
		kinds = append(kinds, fmt.Sprintf("%s, %s: first dataset %s, row %d: %s", count(len(g), "row"), g[0].Kind, g[0].Dataset, g[0].Row, g[0].reason()))
	}
	//lint:ignore ST1005 upstream's words, which people search for
	return fmt.Errorf("Cannot find valid samples: not one of %s can be used; check formatting, columns and tags in dataset_info.json (%s)",
		count(samples, "row"), strings.Join(kinds, "; "))
}
