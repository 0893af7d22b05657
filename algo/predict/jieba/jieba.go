// Package jieba cuts Chinese text into words as jieba.cut does (jieba 0.42.1, with its HMM):
// LLaMA-Factory's ROUGE counts such words. It is the algorithm of that package's __init__.py
// and finalseg in Go, with its dictionary.
package jieba

import (
	"math"
	"regexp"
	"unicode/utf8"
)

var (
	// block is what the dictionary is used for; every other character is a word.
	block = regexp.MustCompile(`[\x{4E00}-\x{9FD5}a-zA-Z0-9+#&._%\-]+`)
	// other is a word outside of blocks.
	other = regexp.MustCompile(`(?s)\r\n|.`)
	// han is what the hidden Markov model is used for.
	han = regexp.MustCompile(`[\x{4E00}-\x{9FD5}]+`)
	// latin is letters and digits, including forms such as 3.14 or 50%.
	latin = regexp.MustCompile(`[a-zA-Z0-9]+(?:\.[0-9]+)?%?`)
)

// Cut returns the words of a text; joined they are the text.
func Cut(text string) (words []string) {
	d := load()
	split(text, block, func(s string) { words = append(words, other.FindAllString(s, -1)...) }, func(s string) {
		words = d.cut(words, s)
	})
	return words
}

// cut appends the words of a block: those of the most probable path through the words of the
// dictionary. What the path leaves as single characters in a row goes to the model, unless it
// is a word that the path has passed over.
func (d *dictionary) cut(words []string, s string) []string {
	loose := 0 // where the single characters before at begin
	flush := func(at int) {
		run := s[loose:at]
		if utf8.RuneCountInString(run) > 1 && d.frequency(run) == 0 {
			words = d.recognise(words, run)
			return
		}
		for _, c := range run {
			words = append(words, string(c))
		}
	}
	next := d.route(s)
	for at := 0; at < len(s); {
		_, size := utf8.DecodeRuneInString(s[at:])
		end := next[at]
		if end-at > size {
			flush(at)
			words = append(words, s[at:end])
			loose = end
		}
		at = end
	}
	flush(len(s))
	return words
}

// route finds, for every character of s, where the word that begins there ends on the path of
// the greatest probability, as byte offsets. Of equal paths the one with the longer word wins.
func (d *dictionary) route(s string) (next []int) {
	next = make([]int, len(s))
	best := make([]float64, len(s)+1)
	logTotal := math.Log(d.total)
	for at := len(s); at > 0; {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
		next[at] = -1
		better := func(end int, frequency int32) {
			if p := math.Log(float64(frequency)) - logTotal + best[end]; next[at] < 0 || p >= best[at] {
				best[at], next[at] = p, end
			}
		}
		lo, hi := 0, len(d.ends)
		for end := at; end < len(s); {
			_, size := utf8.DecodeRuneInString(s[end:])
			end += size
			if lo, hi = d.among(lo, hi, s[at:end]); lo == hi {
				break
			}
			if d.word(lo) == s[at:end] && d.frequencies[lo] > 0 {
				better(end, d.frequencies[lo])
			}
		}
		if next[at] < 0 {
			better(at+size, 1)
		}
	}
	return next
}

// recognise appends the words of characters in a row that the dictionary does not join
// (finalseg.cut).
func (d *dictionary) recognise(words []string, s string) []string {
	add := func(s string) { words = append(words, s) }
	split(s, han, func(s string) { split(s, latin, add, add) }, func(s string) { words = d.model(words, []rune(s)) })
	return words
}

// split calls match with the matches of r in s and rest with the text between them, in order.
func split(s string, r *regexp.Regexp, rest, match func(string)) {
	at := 0
	for _, m := range r.FindAllStringIndex(s, -1) {
		if m[0] > at {
			rest(s[at:m[0]])
		}
		match(s[m[0]:m[1]])
		at = m[1]
	}
	if at < len(s) {
		rest(s[at:])
	}
}
