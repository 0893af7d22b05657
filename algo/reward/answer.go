package reward

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// mark is what a judge gave: Points, out of OutOf where it named that (0 = it did not).
type mark struct{ Points, OutOf float64 }

// value is the mark as one number: a share where the judge named the whole.
func (m mark) value() float64 {
	if m.OutOf == 0 {
		return m.Points
	}
	return m.Points / m.OutOf
}

const numeral = `(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?`

var (
	numbers = regexp.MustCompile(`[-+]?` + numeral)
	// after a number: "/10", " out of 10", " points (out of 10)", "%".
	whole = regexp.MustCompile(`^\**\s*(?:%|(?:/|[a-z]*\s*\(?out of)\s*\**(` + numeral + `))`)
	// a line that says which of its numbers is the mark.
	labelled = regexp.MustCompile(`(?i)\b(?:score|rating|reward|grade|mark|number|verdict)s?\b["'*_]*\s*(?:[:=]|is)`)
)

// readMark reads a judge's answer: the number it consists of or holds alone, as in
// "Good: 0.75", "1e-3", "7/10", "0.75 (out of 1)" or "80 %"; among several, the one that a
// line names as its score, else that of the last line. Which of several numbers is meant is
// not guessed.
func readMark(text string) (mark, error) {
	if _, after, ok := cutLast(text, "</think>"); ok {
		text = after
	}
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
	return mark{}, fmt.Errorf("several numbers in its answer, and which one is the reward cannot be told (ask for one number alone): %q", end(text))
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// marks finds the numbers of a text that stand by themselves: the 4 of "gpt-4" does not.
func marks(text string) (out []mark) {
	for from := 0; from < len(text); {
		at := numbers.FindStringIndex(text[from:])
		if at == nil {
			return out
		}
		start, stop := from+at[0], from+at[1]
		from = stop
		if start > 0 && wordy(text[start-1]) || stop < len(text) && wordy(text[stop]) {
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

// wordy is a character that makes a number beside it part of a word.
func wordy(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// decimal reads a number: a comma before three digits marks thousands, another one the
// decimals ("0,75"); a point or comma at its end belongs to the sentence.
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

// readMarks reads all answers of a selection as rewards. Marks out of different wholes,
// or of 10 here and of nothing there, cannot be compared and are refused.
func readMarks(answers []string) ([]float64, error) {
	out := make([]float64, len(answers))
	plain, share := -1, -1 // an answer with a number beyond 1, and one with a whole beyond 1
	for i, text := range answers {
		m, err := readMark(text)
		if err != nil {
			return nil, err
		}
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
			end(answers[plain]), end(answers[share]))
	}
	return out, nil
}
