package regex

import (
	"fmt"
	"strings"
	"unicode"
)

// set is a set of code points, a bit each.
type set []uint64

const setWords = (unicode.MaxRune + 64) / 64

func newSet() set { return make(set, setWords) }

func (s set) has(r rune) bool { return s[r>>6]>>(uint(r)&63)&1 != 0 }

func (s set) add(lo, hi rune) {
	for r := lo; r <= hi && r <= unicode.MaxRune; r++ {
		s[r>>6] |= 1 << (uint(r) & 63)
	}
}

func (s set) addTable(t *unicode.RangeTable) {
	for _, r := range t.R16 {
		for c := rune(r.Lo); c <= rune(r.Hi); c += rune(r.Stride) {
			s.add(c, c)
		}
	}
	for _, r := range t.R32 {
		for c := rune(r.Lo); c <= rune(r.Hi); c += rune(r.Stride) {
			s.add(c, c)
		}
	}
}

func (s set) union(t set) {
	for i := range s {
		s[i] |= t[i]
	}
}

func (s set) intersect(t set) {
	for i := range s {
		s[i] &= t[i]
	}
}

func (s set) negate() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// fold adds every character that differs from a member only in case.
func (s set) fold() {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if s[r>>6] == 0 {
			r |= 63
			continue
		}
		if !s.has(r) {
			continue
		}
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			s.add(f, f)
		}
	}
}

// of is the set of the listed characters.
func of(chars ...rune) set {
	s := newSet()
	for _, c := range chars {
		s.add(c, c)
	}
	return s
}

// property is the set of \p{name}: a general category or a script, in any case,
// without regard to spaces, hyphens and underscores.
func property(name string) (set, error) {
	s := newSet()
	plain := strip(name)
	switch plain {
	case "any":
		s.negate()
		return s, nil
	case "alphabetic":
		return alphabetic(), nil
	case "ascii":
		s.add(0, 127)
		return s, nil
	case "alpha", "alnum", "digit", "space", "upper", "lower", "punct", "cntrl", "xdigit", "word", "blank", "graph", "print":
		return posix(plain)
	}
	for full, short := range longNames {
		if plain == full {
			plain = strip(short)
		}
	}
	for _, tables := range []map[string]*unicode.RangeTable{unicode.Categories, unicode.Scripts, unicode.Properties} {
		for n, t := range tables {
			if strip(n) == plain {
				s.addTable(t)
				if n == "Han" {
					s.add(0x2ebf0, 0x2ee5d) // CJK Extension I
				}
				for c, newer := range newerCategories {
					if c == n || len(n) == 1 && c[:1] == n {
						s.addTable(newer)
					}
				}
				return s, nil
			}
		}
	}
	return nil, fmt.Errorf(`\p{%s} is not known`, name)
}

func strip(name string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "_", "", "-", "").Replace(name))
}

// longNames are the long names of the categories.
var longNames = map[string]string{
	"letter": "L", "uppercaseletter": "Lu", "lowercaseletter": "Ll", "titlecaseletter": "Lt", "modifierletter": "Lm", "otherletter": "Lo",
	"mark": "M", "nonspacingmark": "Mn", "spacingmark": "Mc", "enclosingmark": "Me",
	"number": "N", "decimalnumber": "Nd", "letternumber": "Nl", "othernumber": "No",
	"punctuation": "P", "symbol": "S", "mathsymbol": "Sm", "currencysymbol": "Sc", "modifiersymbol": "Sk", "othersymbol": "So",
	"separator": "Z", "spaceseparator": "Zs", "lineseparator": "Zl", "paragraphseparator": "Zp", "other": "C", "control": "Cc", "format": "Cf",
}

func categories(names ...string) set {
	s := newSet()
	for _, n := range names {
		p, err := property(n)
		if err != nil {
			panic("regex: " + err.Error()) // the names are constants of this file
		}
		s.union(p)
	}
	return s
}

// alphabetic is Unicode's property of that name.
func alphabetic() set {
	s := categories("L", "Nl")
	s.addTable(unicode.Other_Alphabetic)
	s.addTable(newerAlphabetic)
	return s
}

// word is \w: alphabetic characters, marks, decimal numbers and connecting punctuation, and
// because of a quirk in Oniguruma's table for bytes, Latin-1's superscripts and fractions.
func word() set {
	s := categories("M", "Nd", "Pc")
	s.union(alphabetic())
	s.union(of('²', '³', '¹', '¼', '½', '¾'))
	return s
}

// space is \s.
func space() set {
	s := categories("Z")
	s.add('\t', '\r')
	s.add(0x85, 0x85)
	return s
}

// posix is the set of [:name:].
func posix(name string) (set, error) {
	switch name {
	case "alpha":
		return alphabetic(), nil
	case "alnum":
		s := alphabetic()
		s.union(categories("Nd"))
		return s, nil
	case "digit":
		return categories("Nd"), nil
	case "space":
		return space(), nil
	case "upper":
		s := categories("Lu")
		s.addTable(unicode.Other_Uppercase)
		return s, nil
	case "lower":
		s := categories("Ll")
		s.addTable(unicode.Other_Lowercase)
		return s, nil
	case "punct":
		return categories("P", "S"), nil
	case "cntrl":
		return categories("Cc"), nil
	case "xdigit":
		s := newSet()
		s.add('0', '9')
		s.add('a', 'f')
		s.add('A', 'F')
		return s, nil
	case "word":
		return word(), nil
	case "blank":
		s := categories("Zs")
		s.add('\t', '\t')
		return s, nil
	case "graph", "print":
		s := categories("L", "M", "N", "P", "S", "Cf", "Co")
		if name == "print" {
			s.union(categories("Zs"))
		}
		return s, nil
	}
	return nil, fmt.Errorf("[:%s:] is not known", name)
}
