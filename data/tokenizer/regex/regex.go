// Package regex matches the regular expressions of tokenizer.json as Oniguruma does, the
// library that Hugging Face's tokenizers use: Ruby's syntax over Unicode, with backtracking,
// lazy and possessive quantifiers, look-around, atomic groups and classes with intersections.
// Captures and back references have no use there and are refused, as is everything that the
// package does not implement: a pattern is matched exactly or is an error.
//
// Source: Oniguruma's doc/RE and doc/SYNTAX.md (ONIG_SYNTAX_RUBY).
package regex

import (
	"fmt"
	"unicode/utf8"
)

// Regexp is a compiled pattern, safe for concurrent use.
type Regexp struct {
	program node
	text    string
}

// Compile parses a pattern.
func Compile(pattern string) (*Regexp, error) {
	p := &parser{rest: pattern}
	tree, err := p.alternatives()
	if err == nil && p.rest != "" {
		err = fmt.Errorf("there is a %q without its opening bracket", p.rest[:1])
	}
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	program, err := compile(tree, accept{})
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	return &Regexp{program: program, text: pattern}, nil
}

// String is the pattern's text.
func (r *Regexp) String() string { return r.text }

// Find returns the first match in s that starts at from or later; start is -1 where there is
// none. Look-behind sees the text before from.
func (r *Regexp) Find(s string, from int) (start, end int) {
	for i := from; i <= len(s); {
		if end := r.program.match(s, i); end >= 0 {
			return i, end
		}
		if i == len(s) {
			break
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		i += n
	}
	return -1, -1
}

// Match returns the end of the match that starts at s[from], or -1.
func (r *Regexp) Match(s string, from int) int { return r.program.match(s, from) }
