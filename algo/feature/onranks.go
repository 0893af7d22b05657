package feature

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
)

// batchesAtOnce is the number of batches that a rank computes at a time, because some devices
// project several at once.
const batchesAtOnce = 8

// runOnRanks divides the batches among the ranks. Every rank emits all of them, in order.
func (g *gradients) runOnRanks(ctx context.Context, examples []data.Example, batches [][]int, emit Emit) error {
	size := batchesAtOnce
	if g.Rows > 0 { // features are large
		size = 1
	}
	pieces := slices.Collect(slices.Chunk(batches, size))
	return g.Ranks.Deal(ctx, "gradients of rows", len(pieces), func(i int) ([]byte, error) {
		var made results
		g.emit = made.add
		err := g.run(ctx, examples, pieces[i])
		return made.encode(), err
	}, func(i int, result []byte) error {
		var made results
		rows := slices.Concat(pieces[i]...)
		if err := made.decode(result, len(rows)); err != nil {
			return err
		}
		for _, rows := range pieces[i] {
			values, norm := made.cut(len(rows))
			if err := emit(rows, values, norm); err != nil {
				return err
			}
		}
		return nil
	})
}

// results holds the results of several batches: the same number of values for every row, and the
// row's norm.
type results struct {
	values []float32
	norms  []float64
}

func (m *results) add(_ []int, values []float32, norm []float64) error {
	m.values, m.norms = append(m.values, values...), append(m.norms, norm...)
	return nil
}

// encode encodes the number of values per row, the norms and the values.
func (m *results) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(m.values)/max(1, len(m.norms))))
	b = append(b, ranks.Pack(m.norms)...)
	return append(b, ranks.Pack(m.values)...)
}

// decode reads the results of that many rows.
func (m *results) decode(b []byte, rows int) error {
	if len(b) < 4+8*rows {
		return fmt.Errorf("another rank sent %d bytes for %d rows", len(b), rows)
	}
	m.norms, m.values = make([]float64, rows), make([]float32, rows*int(binary.LittleEndian.Uint32(b)))
	if err := ranks.Unpack(b[4:4+8*rows], m.norms); err != nil {
		return err
	}
	return ranks.Unpack(b[4+8*rows:], m.values)
}

// cut removes the first rows and returns them.
func (m *results) cut(rows int) (values []float32, norms []float64) {
	at := rows * (len(m.values) / max(1, len(m.norms)))
	values, norms = m.values[:at], m.norms[:rows]
	m.values, m.norms = m.values[at:], m.norms[rows:]
	return values, norms
}
