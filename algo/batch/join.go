package batch

import "dataflex.dev/dataflex/model/decoder"

// Cut gathers neighbours of the given sizes into groups of at most most in all; a larger one
// is a group of its own. Group i is [ends[i-1], ends[i]).
func Cut(sizes []int, most int) (ends []int) {
	sum := 0
	for i, n := range sizes {
		if i > 0 && sum+n > most {
			ends, sum = append(ends, i), 0
		}
		sum += n
	}
	if len(sizes) > 0 {
		ends = append(ends, len(sizes))
	}
	return ends
}

// Join is several micro-batches behind one another, for one pass.
func Join(micros []Micro) decoder.Batch {
	if len(micros) == 1 {
		return micros[0].Batch
	}
	total, segments := 0, 1
	for _, m := range micros {
		total, segments = total+len(m.Tokens), segments+len(m.Segments)-1
	}
	b := decoder.Batch{
		Tokens: make([]int32, 0, total), Positions: make([]int32, 0, total), Targets: make([]int32, 0, total), Segments: make([]int32, 1, segments),
	}
	for _, m := range micros {
		at := int32(len(b.Tokens))
		b.Tokens, b.Positions, b.Targets = append(b.Tokens, m.Tokens...), append(b.Positions, m.Positions...), append(b.Targets, m.Targets...)
		for _, end := range m.Segments[1:] {
			b.Segments = append(b.Segments, at+end)
		}
	}
	return b
}
