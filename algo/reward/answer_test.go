package reward

import (
	"math"
	"strings"
	"testing"
)

func TestReadMark(t *testing.T) {
	for text, want := range map[string]float64{
		"0.75": 0.75, "1e-3": 0.001, "2.5E-1\n": 0.25, "7/10": 0.7, "0.75 (out of 1)": 0.75, "Good: 0.75.": 0.75,
		"**0.8**": 0.8, "**8**/**10**": 0.8, "8 out of 10": 0.8, "4 stars out of 5": 0.8, "9 points (out of 10)": 0.9,
		"80%": 0.8, "80 %": 0.8, ".5": 0.5, "1.": 1, "-0.25": -0.25, "+1": 1, "0,75": 0.75, "7,5/10": 0.75, "1,250": 1250, "1,234,567.5": 1234567.5, "0,125": 0.125,
		`{"score": 0.5}`: 0.5, "Score: 0.4\nIt has 3 mistakes, the 2nd is grave.": 0.4, "It has 3 mistakes.\n\n0.4": 0.4,
		"Out of 10 facts 4 are right.\nFinal score: 4/10": 0.4, "gpt-4 would say 0.9": 0.9, "<think>1 or 0? say 0.5</think>\n0.6": 0.6,
		"评分:7/10": 0.7, "0.75分": 0.75, "The score is 1": 1, "\u22120.5": -0.5,
	} {
		m, err := readMark(text)
		if err != nil || math.Abs(m.value()-want) > 1e-12 {
			t.Errorf("%q: %v, %v; want %v", text, m.value(), err, want)
		}
	}
	for text, want := range map[string]string{
		"": "no number", "good": "no number", "NaN": "no number", "inf": "no number", "7/0": "no number", "v2": "no number", "1e999": "no number",
		"between 0 and 1 I say 0.4": "several numbers", "0.4 or 0.6": "several numbers", "1 2 3": "several numbers", "0.7-0.9": "several numbers", "7–8": "several numbers", "2+3": "several numbers",
		"Score: 3\nScore: 4": "several numbers", "7分(满分10分)": "several numbers",
	} {
		if m, err := readMark(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want an error with %q", text, m, err, want)
		}
	}
}

func TestValues(t *testing.T) {
	read := func(texts ...string) ([]float64, error) {
		marks := make([]mark, len(texts))
		for i, text := range texts {
			var err error
			if marks[i], err = readMark(text); err != nil {
				t.Fatal(err)
			}
		}
		return values(marks, texts)
	}
	if got, err := read("7/10", "0.5", "80%", "1"); err != nil || got[0] != 0.7 || got[1] != 0.5 || got[2] != 0.8 || got[3] != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := read("7/10", "8"); err == nil || !strings.Contains(err.Error(), "different scales") {
		t.Errorf("marks of 10 and marks of nothing: %v", err)
	}
}
