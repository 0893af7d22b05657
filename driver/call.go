package driver

import (
	"fmt"
	"slices"
	"strings"
)

// CallKind is a method of Collective.
type CallKind uint8

// The calls that all ranks make together.
const (
	AllToAll CallKind = iota + 1
	AllGather
	ReduceScatter
	Broadcast
	GatherBytes
	Barrier
	Leave // Close, if it waits for all ranks
)

// String is the method's name.
func (k CallKind) String() string {
	names := []string{AllToAll: "AllToAll", AllGather: "AllGather", ReduceScatter: "ReduceScatter", Broadcast: "Broadcast", GatherBytes: "GatherBytes", Barrier: "Barrier", Leave: "Close"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("CallKind(%d)", uint8(k))
	}
	return names[k]
}

// Call describes a call of one rank: the arguments on which all ranks must agree.
type Call struct {
	Kind    CallKind
	In, Out int // lengths in elements, for calls on memory
	Root    int // for Broadcast
}

// String describes c in messages.
func (c Call) String() string {
	switch c.Kind {
	case AllToAll, AllGather, ReduceScatter:
		return fmt.Sprintf("%v(%d to %d floats)", c.Kind, c.In, c.Out)
	case Broadcast:
		return fmt.Sprintf("%v(root %d)", c.Kind, c.Root)
	}
	return c.Kind.String()
}

// Check validates c for a job of size ranks: its lengths must fit together, and its root
// must exist.
func (c Call) Check(size int) error {
	switch {
	case c.Kind == AllToAll && (c.In != c.Out || c.In%size != 0):
		return fmt.Errorf("%v: both lengths must be the same multiple of %d ranks", c, size)
	case c.Kind == AllGather && c.Out != size*c.In:
		return fmt.Errorf("%v: with %d ranks out must be %d long", c, size, size*c.In)
	case c.Kind == ReduceScatter && c.In != size*c.Out:
		return fmt.Errorf("%v: with %d ranks in must be %d long", c, size, size*c.Out)
	case c.Kind == Broadcast && (c.Root < 0 || c.Root >= size):
		return fmt.Errorf("%v: there are %d ranks, numbered from 0", c, size)
	}
	return nil
}

// Agree compares the ranks' calls, in the order of ranks. If they differ, the error names
// which rank called what.
func Agree(calls []Call) error {
	if !slices.ContainsFunc(calls, func(c Call) bool { return c != calls[0] }) {
		return nil
	}
	return fmt.Errorf("the ranks make different calls: %s", Differences("called %v", calls))
}

// Differences tells, in messages, which ranks have which of the values, in the order of ranks:
// "ranks 0 and 2 called Barrier, rank 1 called Close". format is what is said of a value.
func Differences[T comparable](format string, values []T) string {
	var texts []string
	for rank, v := range values {
		if slices.Contains(values[:rank], v) {
			continue
		}
		var who []int
		for r, other := range values {
			if other == v {
				who = append(who, r)
			}
		}
		texts = append(texts, Ranks(who)+" "+fmt.Sprintf(format, v))
	}
	return strings.Join(texts, ", ")
}

// Ranks names ranks in messages, at most eight of them: "rank 3", "ranks 0, 2 and 5".
func Ranks(ranks []int) string {
	switch len(ranks) {
	case 0:
		return "no rank"
	case 1:
		return fmt.Sprintf("rank %d", ranks[0])
	}
	const most = 8
	var list []string
	for _, r := range ranks[:min(len(ranks), most)] {
		list = append(list, fmt.Sprint(r))
	}
	if more := len(ranks) - most; more > 0 {
		return fmt.Sprintf("ranks %s and %d more", strings.Join(list, ", "), more)
	}
	return fmt.Sprintf("ranks %s and %s", strings.Join(list[:len(list)-1], ", "), list[len(list)-1])
}
