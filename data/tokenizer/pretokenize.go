package tokenizer

import "strings"

// preTokenizer cuts normalised text into the words the model encodes one by one.
type preTokenizer struct {
	scanners    []scanner // each cuts the pieces of the one before it
	prefixSpace bool      // ByteLevel's add_prefix_space
	metaspace   *metaspace
}

// metaspace is the Metaspace pre-tokenizer: spaces become mark.
type metaspace struct {
	mark   string
	scheme string // first, always, never: when mark is put before a piece
	split  bool   // before every mark
}

// encode appends the ids of one piece of text between added tokens; first says
// that it stands at the very start.
func (t *Tokenizer) encode(dst []int32, piece string, first bool, s *scratch) []int32 {
	p := &t.pre
	switch {
	case piece == "":
		return dst
	case t.model.byteLevel:
		if p.prefixSpace && piece[0] != ' ' {
			piece = " " + piece
		}
		return t.scan(dst, piece, p.scanners, s)
	case p.metaspace != nil:
		return t.encodeMetaspace(dst, piece, first, s)
	}
	return t.encodeMarked(dst, piece, s)
}

func (t *Tokenizer) scan(dst []int32, piece string, scanners []scanner, s *scratch) []int32 {
	if len(scanners) == 0 {
		return t.model.word(dst, piece, s)
	}
	for len(piece) > 0 {
		n := scanners[0](piece)
		if len(scanners) == 1 {
			dst = t.model.word(dst, piece[:n], s)
		} else {
			dst = t.scan(dst, piece[:n], scanners[1:], s)
		}
		piece = piece[n:]
	}
	return dst
}

func (t *Tokenizer) encodeMetaspace(dst []int32, piece string, first bool, s *scratch) []int32 {
	p := t.pre.metaspace
	piece = strings.ReplaceAll(piece, " ", p.mark)
	if (p.scheme == "always" || p.scheme == "first" && first) && !strings.HasPrefix(piece, p.mark) {
		piece = p.mark + piece
	}
	if !p.split {
		return t.encodeMarked(dst, piece, s)
	}
	for len(piece) > 0 {
		n := len(piece)
		if at := strings.Index(piece[1:], p.mark); at >= 0 {
			n = at + 1
		}
		dst = t.model.word(dst, piece[:n], s)
		piece = piece[n:]
	}
	return dst
}

// encodeMarked encodes text that is one word to the library, in parts where
// that gives the same ids.
func (t *Tokenizer) encodeMarked(dst []int32, piece string, s *scratch) []int32 {
	for len(piece) > 0 {
		n := t.model.cut(piece)
		dst = t.model.word(dst, piece[:n], s)
		piece = piece[n:]
	}
	return dst
}
