package launch

import (
	"fmt"
	"strconv"
	"strings"
)

// Hosts lists the first n names, 0 for all, of a Slurm list: "a[1-3,07-09],b".
func Hosts(list string, n int) ([]string, error) {
	var out []string
	for rest := list; rest != "" && (n == 0 || len(out) < n); {
		item, after, err := cut(rest)
		if err != nil {
			return nil, err
		}
		more, err := expand(item)
		if err != nil {
			return nil, err
		}
		out, rest = append(out, more...), after
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q names no host", list)
	}
	if n > 0 {
		out = out[:min(n, len(out))]
	}
	return out, nil
}

// cut splits off the first item, which ends at a comma outside of brackets.
func cut(list string) (item, rest string, err error) {
	depth := 0
	for i, c := range list {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ',' && depth == 0:
			return list[:i], list[i+1:], nil
		}
	}
	if depth != 0 {
		return "", "", fmt.Errorf("host list %q: brackets do not match", list)
	}
	return list, "", nil
}

// mostHosts is the largest number of names in a list.
const mostHosts = 1 << 16

// expand expands the brackets of one item, from the left.
func expand(item string) ([]string, error) {
	open, end := strings.IndexByte(item, '['), strings.IndexByte(item, ']')
	if open < 0 && end < 0 {
		return []string{item}, nil
	}
	if open < 0 || end < open {
		return nil, fmt.Errorf("host list %q: brackets do not match", item)
	}
	tails, err := expand(item[end+1:])
	if err != nil {
		return nil, err
	}
	var out []string
	for part := range strings.SplitSeq(item[open+1:end], ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		a, err1 := strconv.ParseUint(lo, 10, 32)
		b, err2 := strconv.ParseUint(hi, 10, 32)
		if err1 != nil || err2 != nil || b < a || int(b-a+1)*len(tails)+len(out) > mostHosts {
			return nil, fmt.Errorf("host list %q: %q is not a range", item, part)
		}
		for i := a; i <= b; i++ {
			for _, t := range tails {
				out = append(out, fmt.Sprintf("%s%0*d%s", item[:open], len(lo), i, t))
			}
		}
	}
	return out, nil
}
