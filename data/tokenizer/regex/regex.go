// Package regex matches the regular expressions of tokenizer.json as Oniguruma does,
// which Hugging Face's tokenizers are built with: Ruby's syntax over Unicode, with
// backtracking, lazy and possessive quantifiers, look-around, atomic groups and
// classes with intersections. Captures and back references have no use there and are
// refused, as is what the package does not know: a pattern is matched exactly or is
// an error.
//
// Source: Oniguruma's doc/RE and doc/SYNTAX.md (ONIG_SYNTAX_RUBY).
package regex

import (
	"fmt"
	"unicode/utf8"
)

// Regexp is a compiled pattern. It may be used by many goroutines.
type Regexp struct {
	program node
	text    string
}

// Compile reads a pattern.
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

// String is the pattern.
func (r *Regexp) String() string { return r.text }

// Find returns the first match in s that starts at from or later; start is -1 where
// there is none. What stands before from is seen by look-behind.
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
