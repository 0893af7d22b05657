package cuda

import (
	"fmt"
	"regexp"
	"strconv"

	"dataflex.dev/dataflex/driver"
)

// The driver trusts the arguments of a kernel: with too few of them it reads past the end of
// the list. The PTX text declares an entry's parameters, so a launch is compared with it
// before the driver sees it.

// entry is a kernel's parameters as its PTX declares them.
type entry struct {
	params []driver.Span
	bytes  int // packed size
}

// header is the start of a PTX text.
type header struct{ version, target string }

var (
	commentRE = regexp.MustCompile(`(?s)//[^\n]*|/\*.*?\*/`)
	entryRE   = regexp.MustCompile(`\.entry\s+([\w$%]+)\s*(?:\(([^)]*)\))?`)
	paramRE   = regexp.MustCompile(`\.param\s+(?:\.align\s+(\d+)\s+)?\.([bsuf])(\d+)\s+(?:\.ptr\b[^,]*?\s)?([\w$%]+)\s*(?:\[(\d+)\])?\s*(?:,|$)`)
	versionRE = regexp.MustCompile(`\.version\s+(\S+)`)
	targetRE  = regexp.MustCompile(`\.target\s+([\w, ]*\w)`)
)

// scan finds the header and the entries of a PTX text.
func scan(ptx []byte) (header, map[string]entry, error) {
	ptx = commentRE.ReplaceAll(ptx, nil)
	var h header
	if m := versionRE.FindSubmatch(ptx); m != nil {
		h.version = string(m[1])
	}
	if m := targetRE.FindSubmatch(ptx); m != nil {
		h.target = string(m[1])
	}
	entries := map[string]entry{}
	for _, m := range entryRE.FindAllSubmatch(ptx, -1) {
		e, err := parameters(m[2])
		if err != nil {
			return h, nil, fmt.Errorf("entry %s: %w", m[1], err)
		}
		entries[string(m[1])] = e
	}
	return h, entries, nil
}

// parameters computes the C ABI's layout of an entry's parameter list.
func parameters(list []byte) (entry, error) {
	var e entry
	declared := paramRE.FindAllSubmatch(list, -1)
	if want := len(regexp.MustCompile(`\.param\b`).FindAll(list, -1)); len(declared) != want {
		return e, fmt.Errorf("only %d of %d parameters could be parsed in %q", len(declared), want, list)
	}
	for _, m := range declared {
		bits, err := strconv.Atoi(string(m[3]))
		if err != nil {
			return e, err
		}
		size, align := bits/8, bits/8
		if len(m[1]) > 0 {
			if align, err = strconv.Atoi(string(m[1])); err != nil {
				return e, err
			}
		}
		if len(m[5]) > 0 {
			n, err := strconv.Atoi(string(m[5]))
			if err != nil {
				return e, err
			}
			size *= n
		}
		if size <= 0 || align <= 0 {
			return e, fmt.Errorf("parameter %s has size %d and alignment %d", m[4], size, align)
		}
		at := roundUp(e.bytes, align)
		e.params = append(e.params, driver.Span{Offset: at, Size: size})
		e.bytes = at + size
	}
	return e, nil
}

// accepts compares packed arguments with the entry's parameters.
func (e entry) accepts(args []driver.Span) error {
	if len(args) != len(e.params) {
		return fmt.Errorf("%d arguments, the kernel takes %d", len(args), len(e.params))
	}
	for i, a := range args {
		if p := e.params[i]; a != p {
			return fmt.Errorf("argument %d is %d bytes at offset %d, the kernel takes %d at %d", i, a.Size, a.Offset, p.Size, p.Offset)
		}
	}
	return nil
}
