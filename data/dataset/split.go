package dataset

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// slice is a part of a split: train[from:to]. Bounds count rows, or percent; negative bounds
// count from the end.
type slice struct {
	from, to      bound
	dropRemainder bool // rounding pct1_dropremainder: 1 % is a whole number of rows
}

// bound is an end of a slice.
type bound struct {
	given, percent bool
	n              int
}

var sliceForm = regexp.MustCompile(`^([\w.-]+)(\[(?:(-?[\d_]+)(%)?)?:(?:(-?[\d_]+)(%)?)?\])?(?:\(([^)]*)\))?$`)

// parseSplit reads the `split` of an entry as Hugging Face datasets reads it
// (arrow_reader.ReadInstruction.from_spec): slices of train joined by "+". The files of an
// entry are one split named train; a hub's data set has other splits, of which one is read.
func parseSplit(text string, others bool) (out []slice, name string, err error) {
	name = "train"
	if !others && text == "all" { // every split of the files, and they have one
		return nil, name, nil
	}
	for part := range strings.SplitSeq(text, "+") {
		m := sliceForm.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return nil, "", fmt.Errorf("split is %q, which is not a split; it is train, a slice like train[:100] or train[50%%:], or several joined by +", text)
		}
		if others && (len(out) == 0 || m[1] == name) {
			name = m[1]
		}
		if m[1] != name && others {
			return nil, "", fmt.Errorf("split is %q: one split of a hub's data set is read; give the others entries of their own", text)
		}
		if m[1] != name {
			//lint:ignore ST1005 upstream's words, which people search for
			return nil, "", fmt.Errorf("Unknown split %q. Should be one of ['train']: the rows of a data file are its train split; take a slice of it, like train[90%%:], or name another file", m[1])
		}
		s := slice{dropRemainder: m[7] == "pct1_dropremainder"}
		percent := m[4] != "" || m[6] != ""
		if s.from, err = parseBound(m[3], percent); err == nil {
			s.to, err = parseBound(m[5], percent)
		}
		switch {
		case err != nil:
			return nil, "", fmt.Errorf("split is %q: %w", text, err)
		case m[7] != "" && !percent:
			return nil, "", fmt.Errorf("split is %q: a rounding applies to percent only", text)
		case m[7] != "" && m[7] != "closest" && !s.dropRemainder:
			return nil, "", fmt.Errorf("split is %q: the rounding %q is not known; it is closest or pct1_dropremainder", text, m[7])
		}
		out = append(out, s)
	}
	if len(out) == 1 && out[0] == (slice{}) {
		return nil, name, nil // all rows
	}
	return out, name, nil
}

func parseBound(text string, percent bool) (bound, error) {
	if text == "" {
		return bound{}, nil
	}
	n, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
	if err != nil {
		return bound{}, fmt.Errorf("the bound %s is not a number of rows", text)
	}
	if percent && (n > 100 || n < -100) {
		return bound{}, fmt.Errorf("percent slice boundaries lie between -100 and 100, not at %d", n)
	}
	return bound{given: true, percent: percent, n: n}, nil
}

// bounds are the slice's rows out of n.
func (s slice) bounds(n int) (from, to int) {
	from, to = 0, n
	if s.from.given {
		from = s.from.at(n, s.dropRemainder)
	}
	if s.to.given {
		to = s.to.at(n, s.dropRemainder)
	}
	return from, max(from, to)
}

func (b bound) at(n int, dropRemainder bool) int {
	at := b.n
	switch {
	case b.percent && dropRemainder:
		at = b.n * (n / 100)
	case b.percent:
		at = int(math.RoundToEven(float64(b.n) * float64(n) / 100))
	}
	if at < 0 {
		at = max(n+at, 0)
	}
	return min(at, n)
}
