package regex

import (
	"strings"
	"unicode/utf8"
)

// A node matches at s[i] together with everything that follows it in the pattern, and returns
// where that match ends, or -1. Backtracking means trying the next possibility after a -1.
type node interface {
	match(s string, i int) int
}

// accept is the end of a pattern.
type accept struct{}

func (accept) match(_ string, i int) int { return i }

// literal is a string of characters.
type literal struct {
	text string
	next node
}

func (n *literal) match(s string, i int) int {
	if !strings.HasPrefix(s[i:], n.text) {
		return -1
	}
	return n.next.match(s, i+len(n.text))
}

// char is one character of a set.
type char struct {
	set  set
	next node
}

func (n *char) match(s string, i int) int {
	width := n.set.at(s, i)
	if width == 0 {
		return -1
	}
	return n.next.match(s, i+width)
}

// at is the width of the character at s[i] where the set holds it, else 0.
func (s set) at(text string, i int) int {
	if i >= len(text) {
		return 0
	}
	if b := text[i]; b < utf8.RuneSelf {
		return int(s[b>>6] >> (b & 63) & 1)
	}
	r, width := utf8.DecodeRuneInString(text[i:])
	if !s.has(r) {
		return 0
	}
	return width
}

// mode is a quantifier's preference.
type mode uint8

const (
	greedy mode = iota
	lazy
	possessive // greedy, without backtracking
)

// run is a set of characters, repeated.
type run struct {
	set      set
	min, max int // max -1: unbounded
	mode     mode
	next     node
}

func (n *run) match(s string, i int) int {
	count := 0
	most := n.max
	if n.mode == lazy {
		most = n.min
	}
	for count != most {
		width := n.set.at(s, i)
		if width == 0 {
			break
		}
		i += width
		count++
	}
	if count < n.min {
		return -1
	}
	for {
		end := n.next.match(s, i)
		if end >= 0 || n.mode == possessive {
			return end
		}
		if n.mode == lazy {
			width := 0
			if count != n.max {
				width = n.set.at(s, i)
			}
			if width == 0 {
				return -1
			}
			i += width
			count++
			continue
		}
		if count == n.min {
			return -1
		}
		_, width := utf8.DecodeLastRuneInString(s[:i])
		i -= width
		count--
	}
}

// choice is a list of alternatives in order. starts holds, for every ASCII byte, a bit for each
// alternative that may begin with it; nil where there are too many.
type choice struct {
	options []node
	starts  *[utf8.RuneSelf]uint64
}

func (n *choice) match(s string, i int) int {
	if n.starts != nil && i < len(s) && s[i] < utf8.RuneSelf {
		for k, may := 0, n.starts[s[i]]; may != 0; k, may = k+1, may>>1 {
			if may&1 == 0 {
				continue
			}
			if end := n.options[k].match(s, i); end >= 0 {
				return end
			}
		}
		return -1
	}
	for _, o := range n.options {
		if end := o.match(s, i); end >= 0 {
			return end
		}
	}
	return -1
}

// loop is a group repeated without bound; its body, which is never empty, continues with the
// loop itself.
type loop struct {
	body, next node
	lazy       bool
}

func (n *loop) match(s string, i int) int {
	first, second := n.body, n.next
	if n.lazy {
		first, second = second, first
	}
	if end := first.match(s, i); end >= 0 {
		return end
	}
	return second.match(s, i)
}

// atomic is a group that, once matched, is not backtracked into.
type atomic struct{ body, next node }

func (n *atomic) match(s string, i int) int {
	end := n.body.match(s, i)
	if end < 0 {
		return -1
	}
	return n.next.match(s, end)
}

// ahead is a look-ahead.
type ahead struct {
	body, next node
	not        bool
}

func (n *ahead) match(s string, i int) int {
	if (n.body.match(s, i) >= 0) == n.not {
		return -1
	}
	return n.next.match(s, i)
}

// behind is a look-behind over a fixed number of characters.
type behind struct {
	options []node
	lengths []int // in characters
	next    node
	not     bool
}

func (n *behind) match(s string, i int) int {
	if n.found(s, i) == n.not {
		return -1
	}
	return n.next.match(s, i)
}

func (n *behind) found(s string, i int) bool {
	for k, o := range n.options {
		at := i
		for range n.lengths[k] {
			_, width := utf8.DecodeLastRuneInString(s[:at])
			if width == 0 {
				at = -1
				break
			}
			at -= width
		}
		if at >= 0 && o.match(s, at) == i {
			return true
		}
	}
	return false
}

// place is an assertion about a position in the text.
type place struct {
	holds func(s string, i int) bool
	next  node
}

func (n *place) match(s string, i int) int {
	if !n.holds(s, i) {
		return -1
	}
	return n.next.match(s, i)
}
