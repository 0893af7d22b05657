// Package topk keeps the k smallest entries of every row of a matrix whose columns arrive in
// blocks: the second half of an exact nearest-neighbour search, of which package gemm is the
// first.
//
// Entries are ordered by value, equal values by column, so that the result does not depend
// on the blocks. NaN is never kept.
//
// Floor: one comparison per entry with the row's k-th smallest so far; entries below it cost
// log k more. Rows are independent: on the host each is a task. A device finds every block's
// k smallest, and they are merged on the host.
package topk

import (
	"cmp"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Best is the entries kept so far.
type Best struct {
	k    int
	rows [][]Entry // each a heap, largest first
}

// Entry is a kept entry.
type Entry struct {
	Value  float32
	Column int32
}

// before is the order of entries.
func (e Entry) before(f Entry) bool {
	return e.Value < f.Value || (e.Value == f.Value && e.Column < f.Column)
}

// NewBest returns an empty Best for that many rows.
func NewBest(rows, k int) *Best {
	return &Best{k: k, rows: make([][]Entry, rows)}
}

// Row returns the kept entries of a row, smallest first; it ends the row's collection.
func (b *Best) Row(i int) []Entry {
	r := b.rows[i]
	slices.SortFunc(r, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Value, y.Value), cmp.Compare(x.Column, y.Column))
	})
	return r
}

// Programmer errors.
const (
	badScores = "topk: scores are not [rows, columns]"
	badRows   = "topk: more rows than Best keeps"
)

// Keep processes a block of columns: x [rows, columns], whose first column is column first
// of the whole matrix.
func (b *Best) Keep(dev driver.Device, x driver.F32, rows, columns, first int) {
	if x.Len() != rows*columns {
		panic(badScores)
	}
	if rows > len(b.rows) {
		panic(badRows)
	}
	dispatch.Run(dev, "topk.Keep", func(d *cpu.Device) {
		host := x.Host()
		d.Parallel(rows, func(i int) { b.keepRow(i, host[i*columns:(i+1)*columns], first) })
	}, func(d driver.Launcher) {
		b.keepPTX(d, x, rows, columns, first)
	})
}
