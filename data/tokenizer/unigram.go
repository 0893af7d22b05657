package tokenizer

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// unigram is SentencePiece's Unigram model: of all segmentations of a word into pieces, the one
// with the largest sum of scores is taken (Kudo 2018, arXiv 1804.10959; the library's
// Unigram.encode_optimized).
type unigram struct {
	scores  []float64 // by id
	unknown int32     // -1 = none
	penalty float64   // score of a character that no piece covers
	bytes   bool      // such characters become the pieces of their bytes, if all exist
	trie    map[trieEdge]int32
	pieces  []int32 // by node of the trie: the piece that ends there, -1 = none
}

// trieEdge leads from a node of the trie over a byte.
type trieEdge struct {
	node int32
	b    byte
}

// unknownPenalty is by how much an unknown character scores below the worst piece.
const unknownPenalty = 10

// newUnigram makes the model from the pieces by id; a duplicate piece has its last id.
func newUnigram(pieces []string, scores []float64, unknown int32, bytes bool) *unigram {
	u := &unigram{scores: scores, unknown: unknown, bytes: bytes, trie: map[trieEdge]int32{}, pieces: []int32{-1}}
	u.penalty = slices.Min(scores) - unknownPenalty
	for id, piece := range pieces {
		node := int32(0)
		for i := range len(piece) {
			next, ok := u.trie[trieEdge{node, piece[i]}]
			if !ok {
				next = int32(len(u.pieces))
				u.trie[trieEdge{node, piece[i]}] = next
				u.pieces = append(u.pieces, -1)
			}
			node = next
		}
		u.pieces[node] = int32(id)
	}
	return u
}

// reached is the best segmentation up to a position in the word.
type reached struct {
	score float64
	from  int // -1: not reached
	id    int32
}

// encode appends the ids of w.
func (u *unigram) encode(dst []int32, w string, m *bpe) []int32 {
	best := make([]reached, len(w)+1)
	for i := range best {
		best[i].from = -1
	}
	for at := 0; at < len(w); {
		_, width := utf8.DecodeRuneInString(w[at:])
		covered := false
		improve := func(end int, score float64, id int32) {
			if score += best[at].score; best[end].from < 0 || score > best[end].score {
				best[end] = reached{score, at, id}
			}
		}
		node, ok := int32(0), true
		for end := at; end < len(w); end++ {
			if node, ok = u.trie[trieEdge{node, w[end]}]; !ok {
				break
			}
			if id := u.pieces[node]; id >= 0 {
				improve(end+1, u.scores[id], id)
				covered = covered || end+1-at == width
			}
		}
		if !covered {
			improve(at+width, u.penalty, u.unknown)
		}
		at += width
	}
	return u.collect(dst, w, best, m)
}

// collect follows the best segmentation back and appends its ids; adjacent unknown characters
// become one token.
func (u *unigram) collect(dst []int32, w string, best []reached, m *bpe) []int32 {
	var bounds []int // ends of the tokens, last first
	unknown := false
	for end := len(w); end > 0; end = best[end].from {
		isUnknown := best[end].id == u.unknown
		if !isUnknown || !unknown {
			bounds = append(bounds, end)
		}
		unknown = isUnknown
	}
	from := 0
	for _, end := range slices.Backward(bounds) {
		token := w[from:end]
		from = end
		id, known := m.vocab[token]
		switch {
		case known:
			dst = append(dst, id)
		case u.bytes && m.hasBytes(token):
			for i := range len(token) {
				dst = append(dst, m.bytes[token[i]])
			}
		case u.unknown >= 0:
			dst = append(dst, u.unknown)
		}
	}
	return dst
}

// unigramFile is the "model" of a tokenizer.json of type Unigram.
type unigramFile struct {
	Type         string  `json:"type"`
	UnkID        *int32  `json:"unk_id"`
	Vocab        [][]any `json:"vocab"`
	ByteFallback bool    `json:"byte_fallback"`
}

// unigram reads a model of type Unigram into m, which holds what all models share.
func (p *parser) unigram(m *bpe, f unigramFile) {
	pieces, scores := make([]string, len(f.Vocab)), make([]float64, len(f.Vocab))
	m.vocab = make(map[string]int32, len(f.Vocab))
	for i, entry := range f.Vocab {
		text, isText := entry[0].(string)
		var score float64
		isNumber := false
		if len(entry) == 2 {
			score, isNumber = entry[1].(float64)
		}
		if !isText || !isNumber || math.IsNaN(score) {
			p.fail(fmt.Sprintf("model.vocab[%d]", i), `want ["piece", score]`)
			return
		}
		pieces[i], scores[i] = text, score
		m.vocab[text] = int32(i)
	}
	if len(pieces) == 0 {
		p.fail("model.vocab", "empty")
		return
	}
	unknown := int32(-1)
	if f.UnkID != nil {
		unknown = *f.UnkID
	}
	if int(unknown) >= len(pieces) {
		p.fail("model.unk_id", "%d is beyond the vocabulary", unknown)
		return
	}
	m.unknown = unknown
	m.byteFallback = f.ByteFallback
	m.cache = newSharedCache()
	p.index(m)
	m.unigram = newUnigram(pieces, scores, unknown, f.ByteFallback)
}
