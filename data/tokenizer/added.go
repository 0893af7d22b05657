package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AddedToken is a token that is cut out of the text before the model encodes it.
type AddedToken struct {
	ID         int32
	Content    string
	SingleWord bool // only between characters that are not part of words
	LStrip     bool // absorbs the white space before it
	RStrip     bool // absorbs the white space after it
	Normalized bool // matched against the normalised text
	Special    bool // skipped by Decode on request
}

// matcher finds added tokens in text: leftmost, then longest.
type matcher struct {
	first  [256]bool // first bytes of the tokens
	common string    // common prefix of all tokens
	after  [256]bool // bytes that follow it in a token
	nodes  []trieNode
	tokens []AddedToken
}

type trieNode struct {
	bytes []byte
	next  []int32
	token int32 // index into tokens, -1 = none
}

func newMatcher() *matcher { return &matcher{nodes: []trieNode{{token: -1}}} }

// add adds t to the search under content (its text, normalised or not).
func (m *matcher) add(content string, t AddedToken) {
	if content == "" {
		return
	}
	if len(m.tokens) == 0 {
		m.common = content
	}
	n := 0
	for n < min(len(m.common), len(content)-1) && m.common[n] == content[n] {
		n++
	}
	m.common = m.common[:n]
	at := int32(0)
	for _, b := range []byte(content) {
		i := slices.Index(m.nodes[at].bytes, b)
		if i < 0 {
			m.nodes = append(m.nodes, trieNode{token: -1})
			i = len(m.nodes[at].bytes)
			m.nodes[at].bytes = append(m.nodes[at].bytes, b)
			m.nodes[at].next = append(m.nodes[at].next, int32(len(m.nodes)-1))
		}
		at = m.nodes[at].next[i]
	}
	if m.nodes[at].token < 0 {
		m.nodes[at].token = int32(len(m.tokens))
		m.tokens = append(m.tokens, t)
	}
}

// prepare builds what find needs from the tokens added.
func (m *matcher) prepare() {
	for _, b := range m.nodes[0].bytes {
		m.first[b] = true
	}
	at := int32(0)
	for range len(m.common) {
		at = m.nodes[at].next[0]
	}
	for _, b := range m.nodes[at].bytes {
		m.after[b] = true
	}
}

// find returns the first match in s at or after from.
func (m *matcher) find(s string, from int) (start, end int, t *AddedToken) {
	if len(m.tokens) == 0 {
		return 0, 0, nil
	}
	ahead := len(m.common)
	for i := from; i+ahead < len(s); i++ {
		if !m.first[s[i]] || !m.after[s[i+ahead]] {
			continue
		}
		if end, t := m.longest(s, i); t != nil {
			return i, end, t
		}
	}
	return 0, 0, nil
}

func (m *matcher) longest(s string, start int) (end int, t *AddedToken) {
	at := int32(0)
	for i := start; i < len(s); i++ {
		next := slices.Index(m.nodes[at].bytes, s[i])
		if next < 0 {
			break
		}
		at = m.nodes[at].next[next]
		if k := m.nodes[at].token; k >= 0 {
			end, t = i+1, &m.tokens[k]
		}
	}
	return end, t
}

// split calls text for each piece of s between added tokens (from is its offset in s) and token
// for each added token, in order.
func (m *matcher) split(s string, text func(piece string, from int), token func(*AddedToken)) {
	done := 0
	for pos := 0; ; {
		start, end, t := m.find(s, pos)
		if t == nil {
			break
		}
		pos = end
		if t.SingleWord && (endsInWord(s[:start]) || startsWithWord(s[end:])) {
			continue
		}
		if t.LStrip {
			start = max(len(strings.TrimRightFunc(s[:start], unicode.IsSpace)), done)
		}
		if t.RStrip {
			end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if done < start {
			text(s[done:start], done)
		}
		token(t)
		done = end
	}
	if done < len(s) {
		text(s[done:], done)
	}
}

func endsInWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is the regular expression \w of Unicode's UTS 18.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic,
		unicode.Join_Control, newerLetters, newerNumbers)
}
