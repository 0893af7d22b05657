package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A scanner returns the length of the first piece of s, which is not empty.
// The patterns tile any text, so scanning piece by piece is matching.
type scanner func(s string) int

// The usual patterns are recognised by their text and scanned by hand, which is several times
// as fast as matching them (package regex).
const (
	patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	// cl100k without its digits: {1,3} in Llama 3, single in Qwen 2.
	cl100kHead = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`
	cl100kTail = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	// The same language in tiktoken's notation, with possessive quantifiers.
	tiktokenCL100K = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
)

// scanners maps the regular expression of a Split pre-tokenizer to its scanner.
var scanners = map[string]scanner{
	patternGPT2:                            scanGPT2,
	cl100kHead + `\p{N}{1,3}` + cl100kTail: func(s string) int { return scanCL100K(s, 3) },
	cl100kHead + `\p{N}` + cl100kTail:      func(s string) int { return scanCL100K(s, 1) },
	tiktokenCL100K:                         func(s string) int { return scanCL100K(s, 3) },
}

// scanGPT2 matches patternGPT2.
func scanGPT2(s string) int {
	if s[0] == '\'' {
		if n := contraction(s, false); n > 0 {
			return n
		}
	}
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	class, _, width := classAt(s, i)
	if class == classSpace || class == classEnd {
		return spaces(s, false)
	}
	return run(s, i+width, class)
}

// scanCL100K matches the pattern of cl100k_base with at most digits \p{N} a piece.
func scanCL100K(s string, digits int) int {
	if s[0] == '\'' {
		if n := contraction(s, true); n > 0 {
			return n
		}
	}
	class, r, width := classAt(s, 0)
	switch class {
	case classLetter:
		return run(s, width, classLetter)
	case classNumber:
		end := width
		for range digits - 1 {
			c, _, w := classAt(s, end)
			if c != classNumber {
				break
			}
			end += w
		}
		return end
	}
	// One character other than a newline may precede a run of letters.
	next, _, nextWidth := classAt(s, width)
	if next == classLetter && r != '\r' && r != '\n' {
		return run(s, width+nextWidth, classLetter)
	}
	if class == classOther || r == ' ' && next == classOther {
		end := run(s, width, classOther)
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	return spaces(s, true)
}

// run returns the end of the run of class that continues at i.
func run(s string, i int, class uint8) int {
	for i < len(s) {
		if b := s[i]; b < utf8.RuneSelf {
			if classes[b] != class {
				return i
			}
			i++
			continue
		}
		c, _, width := classAt(s, i)
		if c != class {
			return i
		}
		i += width
	}
	return i
}

// spaces matches \s+(?!\S)|\s+ and, before it when newlines is set, \s*[\r\n]+
// (which ends at the LAST newline of the run). s starts with white space.
func spaces(s string, newlines bool) int {
	end, last, afterNewline := 0, 0, 0
	for {
		class, r, width := classAt(s, end)
		if class != classSpace {
			break
		}
		last = end
		end += width
		if r == '\r' || r == '\n' {
			afterNewline = end
		}
	}
	switch {
	case newlines && afterNewline > 0:
		return afterNewline
	case end < len(s) && last > 0: // (?!\S) gives the last character back
		return last
	}
	return end
}

// contraction matches 's 't 're 've 'm 'll 'd at s, which starts with an
// apostrophe; fold is (?i:…), under which U+017F is an s too.
func contraction(s string, fold bool) int {
	lower := func(r rune) rune {
		switch {
		case !fold:
			return r
		case r == 'ſ':
			return 's'
		case r > unicode.MaxASCII:
			return r
		}
		return unicode.ToLower(r)
	}
	_, first, width := classAt(s, 1)
	first = lower(first)
	if strings.ContainsRune("stmd", first) {
		return 1 + width
	}
	_, second, width2 := classAt(s, 1+width)
	switch second = lower(second); {
	case first == 'r' && second == 'e', first == 'v' && second == 'e', first == 'l' && second == 'l':
		return 1 + width + width2
	}
	return 0
}

// scanDigits matches the Digits pre-tokenizer: numbers separate from other text, and each digit
// on its own when individual is set.
func scanDigits(individual bool) scanner {
	return func(s string) int {
		first, _, end := classAt(s, 0)
		if individual && first == classNumber {
			return end
		}
		for {
			class, _, width := classAt(s, end)
			if class == classEnd || (class == classNumber) != (first == classNumber) {
				return end
			}
			end += width
		}
	}
}
