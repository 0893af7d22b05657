package topk

// keepRow updates one row on the host: a heap of the k smallest values, whose top is the largest
// of them.
func (b *Best) keepRow(i int, x []float32, first int) {
	h := b.rows[i]
	for j, v := range x {
		e := Entry{v, int32(first + j)}
		switch {
		case v != v:
		case len(h) < b.k:
			h = append(h, e)
			up(h, len(h)-1)
		case b.k > 0 && e.before(h[0]):
			h[0] = e
			down(h)
		}
	}
	b.rows[i] = h
}

func up(h []Entry, i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[parent].before(h[i]) {
			return
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
}

func down(h []Entry) {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child].before(h[child+1]) {
			child++
		}
		if !h[i].before(h[child]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
