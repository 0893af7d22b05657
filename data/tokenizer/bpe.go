package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// bpe is the model: it turns a word (a pre-tokenised piece) into ids.
type bpe struct {
	unigram      *unigram // splits words instead of BPE; nil = BPE
	vocab        map[string]int32
	tokens       []string // by id; "" where the vocabulary has a gap
	merges       *mergeTable
	byteLevel    bool // words are bytes in GPT-2's alphabet of 256 characters
	byteFallback bool
	ignoreMerges bool // a word that is in the vocabulary is one token
	fuseUnknown  bool
	unknown      int32      // -1 = unknown characters are dropped
	bytes        [256]int32 // id of each byte, as a character or as <0xNN>; -1 = none
	joins        *joinTable // where a text that is one word may be split; nil = nowhere

	cache sharedCache
}

const spaceMark = "▁"

// byteAlphabet is GPT-2's printable stand-in for every byte.
var byteAlphabet = func() (alphabet [256]rune) {
	next := rune(256)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= '¡' && b <= '¬' || b >= '®' {
			alphabet[b] = b
			continue
		}
		alphabet[b] = next
		next++
	}
	return alphabet
}()

// alphabetByte is the inverse of byteAlphabet.
var alphabetByte = func() map[rune]byte {
	inverse := make(map[rune]byte, 256)
	for b, r := range byteAlphabet {
		inverse[r] = byte(b)
	}
	return inverse
}()

// encode returns the ids of w, in s's memory.
func (m *bpe) encode(w string, s *scratch) []int32 {
	if m.unigram != nil {
		s.symbols = m.unigram.encode(s.symbols[:0], w, m)
		return s.symbols
	}
	if m.ignoreMerges {
		if id, ok := m.whole(w, s); ok {
			s.symbols = append(s.symbols[:0], id)
			return s.symbols
		}
	}
	symbols := s.symbols[:0]
	if m.byteLevel {
		symbols = m.byteSymbols(symbols, w)
	} else {
		symbols = m.characterSymbols(symbols, w)
	}
	s.symbols = symbols
	return m.merges.apply(symbols, s)
}

// whole looks w up as one token.
func (m *bpe) whole(w string, s *scratch) (int32, bool) {
	if !m.byteLevel {
		id, ok := m.vocab[w]
		return id, ok
	}
	s.word = s.word[:0]
	for i := range len(w) {
		s.word = utf8.AppendRune(s.word, byteAlphabet[w[i]])
	}
	id, ok := m.vocab[string(s.word)]
	return id, ok
}

func (m *bpe) byteSymbols(symbols []int32, w string) []int32 {
	afterUnknown := false
	for i := range len(w) {
		id := m.bytes[w[i]]
		if id >= 0 {
			symbols = append(symbols, id)
		} else {
			symbols = m.appendUnknown(symbols, afterUnknown)
		}
		afterUnknown = id < 0
	}
	return symbols
}

func (m *bpe) characterSymbols(symbols []int32, w string) []int32 {
	afterUnknown := false
	for len(w) > 0 {
		_, n := utf8.DecodeRuneInString(w)
		id, known := m.vocab[w[:n]]
		switch {
		case known:
			symbols, afterUnknown = append(symbols, id), false
		case m.byteFallback && m.hasBytes(w[:n]):
			for i := range n {
				symbols = append(symbols, m.bytes[w[i]])
			}
		default:
			symbols, afterUnknown = m.appendUnknown(symbols, afterUnknown), true
		}
		w = w[n:]
	}
	return symbols
}

func (m *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if m.bytes[s[i]] < 0 {
			return false
		}
	}
	return true
}

func (m *bpe) appendUnknown(symbols []int32, afterUnknown bool) []int32 {
	if m.unknown < 0 || afterUnknown && m.fuseUnknown {
		return symbols
	}
	return append(symbols, m.unknown)
}

// joinTable says between which two characters a merge may join. A merge across a boundary joins
// a token that ends in the left character to one that starts with the right one, so where no
// merge does that, the text may be split.
type joinTable [joinOther + 1][joinOther + 1]bool

// Character classes of a joinTable: ASCII, ▁, and all others, which join with anything.
const (
	joinMark  = utf8.RuneSelf
	joinOther = joinMark + 1
)

func joinClass(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return int(r)
	case r == '▁':
		return joinMark
	}
	return joinOther
}

// newJoinTable is for text whose characters are all in vocab.
func newJoinTable(vocab map[string]int32) *joinTable {
	t := new(joinTable)
	for i := range t {
		r := rune(i)
		if i == joinMark {
			r = '▁'
		}
		if _, known := vocab[string(r)]; i == joinOther || !known {
			for j := range t { // the ids of unknown characters depend on their neighbours
				t[i][j], t[j][i] = true, true
			}
		}
	}
	return t
}

// cut returns the length of the first part of s that may be encoded on its own.
func (m *bpe) cut(s string) int {
	if m.joins == nil {
		return len(s)
	}
	left := -1
	for i := 0; i < len(s); {
		class, width := int(s[i]), 1
		switch {
		case class < utf8.RuneSelf:
		case strings.HasPrefix(s[i:], spaceMark):
			class, width = joinMark, len(spaceMark)
		default:
			_, width = utf8.DecodeRuneInString(s[i:])
			class = joinOther
		}
		if left >= 0 && !m.joins[left][class] {
			return i
		}
		left = class
		i += width
	}
	return len(s)
}
