package tokenizer

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// bpe is the model: a word (pre-tokenised piece) in, ids out.
type bpe struct {
	vocab        map[string]int32
	tokens       []string // by id; "" where the vocabulary has a gap
	merges       *mergeTable
	byteLevel    bool // words are bytes in GPT-2's alphabet of 256 characters
	byteFallback bool
	ignoreMerges bool // a word of the vocabulary is taken whole
	fuseUnknown  bool
	unknown      int32      // -1 = unknown characters vanish
	bytes        [256]int32 // id of each byte, as a character or as <0xNN>; -1 = none
	cutAtSpace   bool       // no merge reaches across "x▁", so text may be cut there

	seed  maphash.Seed
	cache []atomic.Pointer[cached]
}

// cached is a word seen before and its ids. Entries are replaced, never
// changed, so that readers need no lock.
type cached struct {
	word string
	ids  []int32
}

const (
	cacheSize    = 1 << 16
	cacheMaxWord = 64 // bytes; longer words rarely come again
	spaceMark    = "▁"
)

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

// word appends the ids of w.
func (m *bpe) word(dst []int32, w string, s *scratch) []int32 {
	if len(w) > cacheMaxWord {
		return append(dst, m.encode(w, s)...)
	}
	if m.byteLevel && len(w) == 1 && m.bytes[w[0]] >= 0 {
		return append(dst, m.bytes[w[0]])
	}
	slot := &m.cache[maphash.String(m.seed, w)&(cacheSize-1)]
	if c := slot.Load(); c != nil && c.word == w {
		return append(dst, c.ids...)
	}
	ids := m.encode(w, s)
	slot.Store(&cached{strings.Clone(w), append([]int32(nil), ids...)})
	return append(dst, ids...)
}

// encode returns the ids of w in s's memory.
func (m *bpe) encode(w string, s *scratch) []int32 {
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

// cut returns the end of the first part of s that may be encoded on its own.
func (m *bpe) cut(s string) int {
	if !m.cutAtSpace {
		return len(s)
	}
	i := 0
	for strings.HasPrefix(s[i:], spaceMark) {
		i += len(spaceMark)
	}
	if at := strings.Index(s[i:], spaceMark); at >= 0 {
		return i + at
	}
	return len(s)
}
