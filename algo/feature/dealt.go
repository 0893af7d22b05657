package feature

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
)

// piece is how many batches a rank computes at a time: some devices project several at once.
const piece = 8

// dealt divides the batches among the ranks and emits all of them on every rank, in order.
func (g *gradients) dealt(ctx context.Context, examples []data.Example, batches [][]int, emit Emit) error {
	size := piece
	if g.Rows > 0 { // features are large
		size = 1
	}
	pieces := slices.Collect(slices.Chunk(batches, size))
	return g.Ranks.Deal(ctx, "gradients of rows", len(pieces), func(i int) ([]byte, error) {
		var made made
		g.emit = made.add
		err := g.run(ctx, examples, pieces[i])
		return made.encode(), err
	}, func(i int, result []byte) error {
		var made made
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

// made is the results of several batches: equally many values for every row, and its norm.
type made struct {
	values []float32
	norms  []float64
}

func (m *made) add(_ []int, values []float32, norm []float64) error {
	m.values, m.norms = append(m.values, values...), append(m.norms, norm...)
	return nil
}

// encode encodes the number of values per row, the norms and the values.
func (m *made) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(m.values)/max(1, len(m.norms))))
	b = append(b, ranks.Pack(m.norms)...)
	return append(b, ranks.Pack(m.values)...)
}

// decode reads the results of that many rows.
func (m *made) decode(b []byte, rows int) error {
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
func (m *made) cut(rows int) (values []float32, norms []float64) {
	at := rows * (len(m.values) / max(1, len(m.norms)))
	values, norms = m.values[:at], m.norms[:rows]
	m.values, m.norms = m.values[at:], m.norms[rows:]
	return values, norms
}
