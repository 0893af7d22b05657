package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// The character classes that the pre-tokenizers' patterns distinguish.
const (
	classOther uint8 = iota // [^\s\p{L}\p{N}]
	classLetter
	classNumber
	classSpace
	classEnd // past the end of the string
)

// classes holds the class of every code point; filled by loadClasses.
var classes [unicode.MaxRune + 1]uint8

var loadClasses = sync.OnceFunc(func() {
	fill(unicode.L, classLetter)
	fill(unicode.N, classNumber)
	fill(newerLetters, classLetter)
	fill(newerNumbers, classNumber)
	fill(unicode.White_Space, classSpace)
})

func fill(t *unicode.RangeTable, class uint8) {
	for _, r := range t.R16 {
		for c := uint32(r.Lo); c <= uint32(r.Hi); c += uint32(r.Stride) {
			classes[c] = class
		}
	}
	for _, r := range t.R32 {
		for c := r.Lo; c <= r.Hi; c += r.Stride {
			classes[c] = class
		}
	}
}

// classAt returns the class, code point and width of the character at s[i:].
func classAt(s string, i int) (class uint8, r rune, width int) {
	if i >= len(s) {
		return classEnd, -1, 0
	}
	if b := s[i]; b < utf8.RuneSelf {
		return classes[b], rune(b), 1
	}
	r, width = utf8.DecodeRuneInString(s[i:])
	return classes[r], r, width
}
