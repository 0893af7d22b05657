package tokenizer

import (
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/tokenizer/regex"
)

// preTokenizer splits normalised text into the words that the model encodes one by one: each
// step splits the pieces of the step before.
type preTokenizer struct {
	steps []preStep
	alone bool // it is a single ByteLevel
}

// override applies tokenizer_config.json's add_prefix_space, false where it is absent, to a
// pre-tokenizer that is a single ByteLevel, as PreTrainedTokenizerFast does.
func (p *preTokenizer) override(prefixSpace bool) {
	if !p.alone {
		return
	}
	p.steps = slices.DeleteFunc(p.steps, func(s preStep) bool { _, is := s.(prefixStep); return is })
	if prefixSpace {
		p.steps = append([]preStep{prefixStep{}}, p.steps...)
	}
}

// A preStep is one of the types below.
type preStep interface{}

type (
	// prefixStep is the add_prefix_space of a ByteLevel.
	prefixStep struct{}
	// alphabetStep writes bytes as GPT-2's alphabet, for steps that follow ByteLevel.
	alphabetStep struct{}
	// regexStep is a Split.
	regexStep struct {
		pattern  *regex.Regexp
		behavior string
		invert   bool
	}
	// metaspaceStep is Metaspace: spaces become mark.
	metaspaceStep struct {
		mark   string
		scheme string // first, always, never: when mark is put before a piece
		apart  bool   // split before every mark
	}
)

// words is an encoding in progress.
type words struct {
	t        *Tokenizer
	dst      []int32
	s        *scratch
	alphabet bool // pieces are in GPT-2's alphabet
}

// encode appends the ids of one piece of text between added tokens; first says that the piece
// is at the start of the text.
func (t *Tokenizer) encode(dst []int32, piece string, first bool, s *scratch) []int32 {
	w := words{t: t, dst: dst, s: s}
	w.cut(piece, t.pre.steps, first)
	return w.dst
}

// cut passes piece through the remaining steps.
func (w *words) cut(piece string, steps []preStep, first bool) {
	if piece == "" {
		return
	}
	if len(steps) == 0 {
		w.word(piece)
		return
	}
	rest := steps[1:]
	switch step := steps[0].(type) {
	case scanner:
		for len(piece) > 0 {
			n := step(piece)
			if len(rest) == 0 {
				w.word(piece[:n])
			} else {
				w.cut(piece[:n], rest, first)
			}
			piece, first = piece[n:], false
		}
	case prefixStep:
		if piece[0] != ' ' {
			piece = " " + piece
		}
		w.cut(piece, rest, first)
	case alphabetStep:
		w.alphabet = true
		w.cut(inAlphabet(piece), rest, first)
		w.alphabet = false
	case *regexStep:
		step.split(piece, func(part string, at int) { w.cut(part, rest, first && at == 0) })
	case *metaspaceStep:
		step.split(piece, first, func(part string, at int) { w.cut(part, rest, first && at == 0) })
	}
}

// word encodes a piece after the last step.
func (w *words) word(piece string) {
	m := &w.t.model
	switch {
	case w.alphabet:
		w.dst = m.word(w.dst, fromAlphabet(piece), w.s)
	case m.byteLevel:
		w.dst = m.word(w.dst, piece, w.s)
	default: // one word for the library; encoded in parts where that gives the same ids
		for len(piece) > 0 {
			n := m.cut(piece)
			w.dst = m.word(w.dst, piece[:n], w.s)
			piece = piece[n:]
		}
	}
}

// split calls emit with the pieces of s and their offsets, as the library's
// SplitDelimiterBehavior defines them.
func (r *regexStep) split(s string, emit func(part string, at int)) {
	start, end, matched := 0, 0, false // the piece being assembled
	flush := func() {
		if end > start {
			emit(s[start:end], start)
		}
		start = end
	}
	r.parts(s, func(from, to int, match bool) {
		join := false
		switch r.behavior {
		case "Removed":
			flush()
			if match {
				start, end = to, to
				return
			}
		case "MergedWithPrevious":
			join = match && !matched
		case "MergedWithNext":
			join = matched && !match
		case "Contiguous":
			join = match == matched
		}
		if !join {
			flush()
		}
		end, matched = to, match
	})
	flush()
}

// parts calls f with the matches of the pattern in s and the text between them.
func (r *regexStep) parts(s string, f func(from, to int, match bool)) {
	done := 0
	for at := 0; at <= len(s); {
		from, to := r.pattern.Find(s, at)
		if from < 0 {
			break
		}
		if from > done {
			f(done, from, r.invert)
		}
		if to > from {
			f(from, to, !r.invert)
		}
		done, at = max(done, to), max(to, from+1)
	}
	if done < len(s) {
		f(done, len(s), r.invert)
	}
}

func (m *metaspaceStep) split(piece string, first bool, emit func(part string, at int)) {
	piece = strings.ReplaceAll(piece, " ", m.mark)
	if (m.scheme == "always" || m.scheme == "first" && first) && !strings.HasPrefix(piece, m.mark) {
		piece = m.mark + piece
	}
	at := 0
	for m.apart && len(piece) > 0 {
		next := strings.Index(piece[1:], m.mark)
		if next < 0 {
			break
		}
		emit(piece[:next+1], at)
		piece, at = piece[next+1:], at+next+1
	}
	emit(piece, at)
}

// inAlphabet writes bytes as the characters of GPT-2's alphabet.
func inAlphabet(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(byteAlphabet[s[i]])
	}
	return b.String()
}

// fromAlphabet is its inverse.
func fromAlphabet(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, alphabetByte[r])
	}
	return string(b)
}
