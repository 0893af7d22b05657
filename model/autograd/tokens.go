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

// Tokens are single rows of a table of embeddings or of the head that are trained while the
// other rows are frozen (PEFT's trainable_token_indices). They are parameters of their own, and
// replace the table's rows.
type Tokens struct {
	Rows  *tensor.Param // [len(Index), Hidden]
	Index []int32       // the ids of the rows; if an id occurs several times its last entry replaces the table's row

	slots []map[int32]int32 // maps from an id to an entry of Index; the n-th occurrence of an id is in the n-th map
}

// NewTokens returns the tokens index with the values rows [len(index), Hidden].
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

// Place copies the current values of the rows into table, so that everything that reads table
// reads them.
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

// tokensVJP adds the gradients of the looked-up rows to those of the tokens. Entries of Index
// with equal ids all get the whole gradient, as in the backward pass of torch's index_copy.
func (t *Tape) tokensVJP(k *Tokens, n *node) {
	d := n.out.Cols
	b := t.buffer(len(n.ids) * d) // the same size for any tokens, because the memory plan counts it
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

// headVJP adds the tokens' part of the head's weight gradient, p.yᵀ p.x, to the gradients of
// the tokens.
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
