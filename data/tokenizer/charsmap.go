package tokenizer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// charsmap is SentencePiece's compiled normalisation (precompiled_charsmap): a double-array
// trie of texts, and their replacements.
type charsmap struct {
	units []uint32
	texts string // each ends with a zero byte
}

func newCharsmap(blob []byte) (*charsmap, error) {
	if len(blob) < 4 {
		return nil, errors.New("too short for a charsmap")
	}
	size := int(binary.LittleEndian.Uint32(blob))
	if size%4 != 0 || size == 0 || size > len(blob)-4 {
		return nil, errors.New("its trie is longer than the charsmap")
	}
	c := &charsmap{units: make([]uint32, size/4), texts: string(blob[4+size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(blob[4+4*i:])
	}
	return c, nil
}

// charsmapOf reads the base64 text of a tokenizer.json.
func charsmapOf(raw json.RawMessage) (*charsmap, error) {
	var blob []byte
	if err := json.Unmarshal(raw, &blob); err != nil {
		return nil, err
	}
	return newCharsmap(blob)
}

// Fields of a unit of the double array.
func offset(unit uint32) int       { return int(unit >> 10 << (unit & (1 << 9) >> 6)) }
func label(unit uint32) uint32     { return unit & (1<<31 | 0xff) }
func hasLeaf(unit uint32) bool     { return unit>>8&1 == 1 }
func leafValue(unit uint32) uint32 { return unit & (1<<31 - 1) }

// replacement is the replacement of the shortest prefix of s in the trie; the library uses it
// for all of s.
func (c *charsmap) replacement(s string) (string, bool) {
	at := offset(c.units[0])
	for i := range len(s) {
		at ^= int(s[i])
		if s[i] == 0 || at >= len(c.units) || label(c.units[at]) != uint32(s[i]) {
			return "", false
		}
		unit := c.units[at]
		at ^= offset(unit)
		if !hasLeaf(unit) {
			continue
		}
		if at >= len(c.units) {
			return "", false
		}
		from := leafValue(c.units[at])
		if int(from) > len(c.texts) {
			return "", false
		}
		text, _, _ := strings.Cut(c.texts[from:], "\x00")
		return text, true
	}
	return "", false
}

// normalize is the library's Precompiled: grapheme by grapheme where they are short, else
// character by character.
func (c *charsmap) normalize(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for g := graphemes.FromString(s); g.Next(); {
		cluster := g.Value()
		if len(cluster) < 6 {
			if text, ok := c.replacement(cluster); ok {
				b.WriteString(text)
				continue
			}
		}
		for cluster != "" {
			_, n := utf8.DecodeRuneInString(cluster)
			text, ok := c.replacement(cluster[:n])
			if !ok {
				text = cluster[:n]
			}
			b.WriteString(text)
			cluster = cluster[n:]
		}
	}
	return b.String()
}
