package processor

import "dataflex.dev/dataflex/data"

// knapsack groups lengths so that none of the groups is longer than capacity
// (processor_utils.py greedy_knapsack): a group repeatedly takes the longest length that still
// fits; when none does, the next group begins. Of equal lengths the last one goes first. The
// groups hold indices into lengths; no length may exceed capacity.
func knapsack(lengths []int, capacity int) [][]int {
	stacks := make([][]int, capacity+1)
	for i, n := range lengths {
		stacks[n] = append(stacks[n], i)
	}
	// below[n+1] leads to the largest length <= n that may still have members, or to 0: it is
	// the find of a union-find whose sets end at such lengths.
	below := make([]int, capacity+2)
	for n := range below {
		below[n] = n
	}
	longest := func(room int) int {
		n := room + 1
		for n > 0 && (below[n] != n || len(stacks[n-1]) == 0) {
			if below[n] == n {
				below[n] = n - 1
			}
			below[n] = below[below[n]]
			n = below[n]
		}
		return n - 1
	}
	var groups [][]int
	for left := len(lengths); left > 0; {
		var g []int
		for room := capacity; ; {
			n := longest(room)
			if n < 0 {
				break
			}
			top := len(stacks[n]) - 1
			g = append(g, stacks[n][top])
			stacks[n] = stacks[n][:top]
			room -= n
		}
		left -= len(g)
		groups = append(groups, g)
	}
	return groups
}

// join makes one packed row of several examples (supervised.py,
// PackedSupervisedDatasetProcessor): their tokens one after another, positions restarting with
// each, then padding up to capacity+1. With neat each member is a segment that attends only to
// itself; otherwise the row is one segment.
func join(members []data.Example, capacity int, pad int32, neat bool) data.Example {
	size := capacity + 1
	out := data.Example{
		ID:          members[0].ID,
		InputIDs:    make([]int32, 0, size),
		Labels:      make([]int32, 0, size),
		PositionIDs: make([]int32, size),
		Segments:    []int32{0},
	}
	for _, m := range members {
		for i := range m.InputIDs {
			out.PositionIDs[len(out.InputIDs)+i] = int32(i)
		}
		out.Members = append(out.Members, m.ID)
		out.InputIDs = append(out.InputIDs, m.InputIDs...)
		out.Labels = append(out.Labels, m.Labels...)
		if neat {
			out.Segments = append(out.Segments, int32(len(out.InputIDs)))
		}
	}
	if !neat {
		out.Segments = append(out.Segments, int32(len(out.InputIDs)))
	}
	for len(out.InputIDs) < size {
		out.InputIDs = append(out.InputIDs, pad)
		out.Labels = append(out.Labels, data.IgnoreIndex)
	}
	return out
}
