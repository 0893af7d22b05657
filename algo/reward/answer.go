package reward

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// mark is a judge's rating: Points, out of OutOf if it named a maximum (else 0).
type mark struct{ Points, OutOf float64 }

// value is the rating as one number: a fraction if the judge named the maximum.
func (m mark) value() float64 {
	if m.OutOf == 0 {
		return m.Points
	}
	return m.Points / m.OutOf
}

const numeral = `(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?`

var (
	numbers = regexp.MustCompile(`[-+]?` + numeral)
	// text after a number: "/10", " out of 10", " points (out of 10)", "%".
	whole = regexp.MustCompile(`^\**\s*(?:%|(?:/|[a-z]*\s*\(?out of)\s*\**(` + numeral + `))`)
	// a line that says which of its numbers is the rating.
	labelled = regexp.MustCompile(`(?i)\b(?:score|rating|reward|grade|mark|number|verdict)s?\b["'*_]*\s*(?:[:=]|is)`)
)

// readMark reads a judge's answer: its only number, as in "Good: 0.75", "1e-3", "7/10", "0.75
// (out of 1)" or "80 %"; among several, the one that a line names as the score, else that of
// the last line. An answer that remains ambiguous is an error.
func readMark(text string) (mark, error) {
	if _, after, ok := cutLast(text, "</think>"); ok {
		text = after
	}
	text = strings.ReplaceAll(text, "\u2212", "-") // the minus sign of typeset numbers
	all := marks(text)
	if len(all) == 1 {
		return all[0], nil
	}
	if len(all) == 0 {
		return mark{}, fmt.Errorf("no number in its answer %q", end(text))
	}
	last := ""
	var named []mark
	for line := range strings.Lines(text) {
		if at := labelled.FindStringIndex(line); at != nil {
			named = append(named, marks(line[at[1]:])...)
		}
		if strings.TrimSpace(line) != "" {
			last = line
		}
	}
	if len(named) == 1 {
		return named[0], nil
	}
	if alone := marks(last); len(named) == 0 && len(alone) == 1 {
		return alone[0], nil
	}
	return mark{}, fmt.Errorf("several numbers in its answer, and it is not clear which one is the reward (ask for a single number): %q", end(text))
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// marks finds the free-standing numbers of a text, which exclude the 4 of "gpt-4".
func marks(text string) (out []mark) {
	for from := 0; from < len(text); {
		at := numbers.FindStringIndex(text[from:])
		if at == nil {
			return out
		}
		start, stop := from+at[0], from+at[1]
		from = stop
		if start > 0 && digitAt(text, start-1) && (text[start] == '-' || text[start] == '+') {
			start++ // 7-8 is a range of two numbers, of which neither is negative
		} else if start > 0 && wordy(text[start-1]) {
			continue
		}
		if stop < len(text) && wordy(text[stop]) {
			continue
		}
		m := mark{}
		var ok bool
		if m.Points, ok = decimal(text[start:stop]); !ok {
			continue
		}
		if w := whole.FindStringSubmatchIndex(text[stop:]); w != nil {
			from = stop + w[1]
			m.OutOf = 100 // "%"
			if w[2] >= 0 {
				if m.OutOf, ok = decimal(text[stop+w[2] : stop+w[3]]); !ok || m.OutOf <= 0 {
					continue
				}
			}
		}
		out = append(out, m)
	}
	return out
}

// wordy reports whether a character makes an adjacent number part of a word.
func wordy(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// decimal reads a number: a comma before three digits separates thousands, any other one is a
// decimal comma ("0,75"); a point or comma at the end belongs to the sentence.
func decimal(s string) (float64, bool) {
	s = strings.TrimRight(s, ".,")
	if i := strings.LastIndexByte(s, ','); i >= 0 {
		head := strings.TrimLeft(s[:i], "+-")
		if strings.ContainsRune(s, '.') || len(s)-i-1 == 3 && head != "0" || strings.ContainsRune(head, ',') {
			s = strings.ReplaceAll(s, ",", "")
		} else {
			s = s[:i] + "." + s[i+1:]
		}
	}
	x, err := strconv.ParseFloat(s, 64)
	return x, err == nil && !math.IsInf(x, 0)
}

// values are the rewards of all answers of a selection. Ratings with different maxima, or with
// a maximum in some and none in others, cannot be compared and are refused; texts are the answers
// they were read from.
func values(marks []mark, texts []string) ([]float64, error) {
	out := make([]float64, len(marks))
	plain, share := -1, -1 // an answer with a number above 1, and one with a maximum above 1
	for i, m := range marks {
		out[i] = m.value()
		switch {
		case m.OutOf > 1:
			share = i
		case m.OutOf == 0 && m.Points > 1:
			plain = i
		}
	}
	if plain >= 0 && share >= 0 {
		return nil, fmt.Errorf("one answer is %q and another %q: rewards on different scales cannot be compared (ask for a number between 0 and 1)",
			end(texts[plain]), end(texts[share]))
	}
	return out, nil
}
