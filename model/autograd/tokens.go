package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/columns"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/tensor"
)

// Tokens are rows of a table that train while its other rows do not (PEFT's
// trainable_token_indices): rows of their own that stand in the place of the table's.
type Tokens struct {
	Rows  *tensor.Param // [len(Index), Hidden]
	Index []int32       // which of the table's rows; of equal ones the last counts

	slots []map[int32]int32 // from ids to rows: an id that Index has n times is in the first n
}

// NewTokens makes them of rows [len(index), Hidden].
func NewTokens(rows *tensor.Param, index []int32) *Tokens {
	k := &Tokens{Rows: rows, Index: index}
	seen := map[int32]int{}
	for i, id := range index {
		if seen[id]++; seen[id] > len(k.slots) {
			k.slots = append(k.slots, map[int32]int32{})
		}
		k.slots[seen[id]-1][id] = int32(i)
	}
	return k
}

// Place writes the rows, as they are now, into table: what reads the table then reads them.
func (k *Tokens) Place(dev driver.Device, table *tensor.Param) {
	d := table.Shape[1]
	for i, id := range k.Index {
		row, at := k.Rows.Data.Sub(i*d, (i+1)*d), int(id)*d
		if !table.Data.IsNil() {
			to := table.Data.Sub(at, at+d)
			reduce.Fill(dev, 0, to)
			reduce.Add(dev, to, row)
		}
		if half := table.BF16(); !half.IsNil() {
			cast.Narrow(dev, row, half.Sub(at, at+d))
		}
	}
}

// tokensVJP adds the gradient of the looked-up rows to that of the tokens'. Equal entries
// of Index all get it, as from the backward pass of torch's index_copy.
func (t *Tape) tokensVJP(k *Tokens, n *node) {
	d := n.out.Cols
	b := t.buffer(len(n.ids) * d) // as much for any tokens: the plan of memory counts on it
	if t.err != nil {
		return
	}
	for _, slot := range k.slots {
		var at, rows []int32
		for i, id := range n.ids {
			if s, ok := slot[id]; ok {
				at, rows = append(at, int32(i)), append(rows, s)
			}
		}
		if len(at) > 0 {
			g := b.mem.Sub(0, len(at)*d)
			embed.Forward(t.dev, n.out.grad.mem, at, g, d)
			embed.Backward(t.dev, g, rows, k.Rows.Grad, d)
		}
	}
	t.release(b)
}

// headVJP adds the gradient of the products p.y of p.x to the tokens'.
func (t *Tape) headVJP(k *Tokens, p rowsOf) {
	n := len(k.Index)
	oneBuffer, allBuffer := t.buffer(p.most), t.buffer(p.most*n)
	if t.err != nil {
		return
	}
	one, all := oneBuffer.mem.Sub(0, p.rows), allBuffer.mem.Sub(0, p.rows*n)
	reduce.Fill(t.dev, 0, all)
	for i, id := range k.Index {
		columns.Take(t.dev, p.y.Data, p.y.Cols, int(id), one, 1)
		columns.Add(t.dev, one, 1, all, n, i)
	}
	gemm.Run(t.dev, gemm.TN, 1, gemm.Dense(all, p.rows, n), p.x, 1, gemm.Dense(k.Rows.Grad, n, p.x.Cols))
	t.release(oneBuffer)
	t.release(allBuffer)
}
