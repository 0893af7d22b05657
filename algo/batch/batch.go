// Package batch packs tokenised rows into the micro-batches that the decoder computes on: rows
// one after another, without padding.
package batch

import (
	"cmp"
	"slices"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/model/decoder"
)

// Micro is a packed micro-batch with what the loop needs to know about its rows.
type Micro struct {
	decoder.Batch
	Rows     []int   // positions in the data set, in order
	RowStart []int32 // first token of every row, and the total: len(Rows)+1
	Labelled []int   // per row: targets after the shift
	Labels   int     // labels != IgnoreIndex before the shift: Hugging Face's num_items_in_batch
}

// Pack packs the given rows. Row i's token t predicts label t+1 of the same row, as in Hugging
// Face's shift.
func Pack(examples []data.Example, rows []int) Micro {
	total := 0
	for _, r := range rows {
		total += length(examples[r])
	}
	m := Micro{Rows: rows, RowStart: make([]int32, 1, len(rows)+1), Labelled: make([]int, len(rows))}
	m.Tokens = make([]int32, 0, total)
	m.Positions = make([]int32, 0, total)
	m.Targets = make([]int32, 0, total)
	m.Segments = make([]int32, 1, len(rows)+1)
	for i, r := range rows {
		m.add(i, examples[r])
	}
	return m
}

// length is the number of tokens of a row to compute, which excludes the padding at the end of
// a packed row.
func length(ex data.Example) int {
	if n := len(ex.Segments); n > 0 {
		return int(ex.Segments[n-1])
	}
	return len(ex.InputIDs)
}

func (m *Micro) add(i int, ex data.Example) {
	start := int32(len(m.Tokens))
	n := length(ex)
	m.Tokens = append(m.Tokens, ex.InputIDs[:n]...)
	if ex.PositionIDs != nil {
		m.Positions = append(m.Positions, ex.PositionIDs[:n]...)
	} else {
		for t := range n {
			m.Positions = append(m.Positions, int32(t))
		}
	}
	for t := range n {
		target := int32(data.IgnoreIndex)
		if t+1 < n {
			target = ex.Labels[t+1]
		}
		if target >= 0 {
			m.Labelled[i]++
		}
		if ex.Labels[t] >= 0 {
			m.Labels++
		}
		m.Targets = append(m.Targets, target)
	}
	if len(ex.Segments) > 1 {
		for _, s := range ex.Segments[1:] {
			m.Segments = append(m.Segments, start+s)
		}
	} else {
		m.Segments = append(m.Segments, start+int32(n))
	}
	m.RowStart = append(m.RowStart, start+int32(n))
}

// Predicted is the number of targets of all rows.
func (m *Micro) Predicted() (n int) {
	for _, of := range m.Labelled {
		n += of
	}
	return n
}

// MeanWeights gives every labelled token of row i the weight 1/Labelled[i]: the
// scalar loss is then the sum of the rows' mean losses, and each row's gradient
// is that of its own mean loss.
func (m *Micro) MeanWeights() []float32 {
	w := make([]float32, len(m.Tokens))
	for i, n := range m.Labelled {
		for t := m.RowStart[i]; t < m.RowStart[i+1]; t++ {
			if m.Targets[t] >= 0 {
				w[t] = float32(1 / float64(n))
			}
		}
	}
	return w
}

// RowMeans reduces per-token losses to each row's mean over its targets; ok is
// false for a row that has none.
func (m *Micro) RowMeans(tokenLoss []float32) (mean []float64, ok []bool) {
	mean, ok = make([]float64, len(m.Rows)), make([]bool, len(m.Rows))
	for i, n := range m.Labelled {
		var sum float64
		for t := m.RowStart[i]; t < m.RowStart[i+1]; t++ {
			if m.Targets[t] >= 0 {
				sum += float64(tokenLoss[t])
			}
		}
		if ok[i] = n > 0; ok[i] {
			mean[i] = sum / float64(n)
		}
	}
	return mean, ok
}

// ByLength groups all rows into batches of at most maxTokens tokens (a longer row is its own
// batch), longest first, so that memory peaks at the first batch and the rows of a batch have
// similar lengths. The grouping depends only on the lengths.
func ByLength(examples []data.Example, maxTokens int) [][]int {
	order := make([]int, len(examples))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(len(examples[b].InputIDs), len(examples[a].InputIDs))
	})
	var out [][]int
	var cur []int
	tokens := 0
	for _, r := range order {
		n := len(examples[r].InputIDs)
		if len(cur) > 0 && tokens+n > maxTokens {
			out = append(out, cur)
			cur, tokens = nil, 0
		}
		cur = append(cur, r)
		tokens += n
	}
	if len(cur) > 0 {
		out = append(out, cur)
	}
	return out
}
