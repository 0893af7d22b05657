package regex

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// What tokenizers 0.21.4 (Oniguruma) finds with the patterns of today's tokenizers and
// with some that try every construction, on random text of many scripts.
func TestMatchesAreOnigurumas(t *testing.T) {
	text, err := os.ReadFile("testdata/matches.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []struct {
		Pattern string
		Cases   [][2]json.RawMessage
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	for _, r := range recorded {
		re, err := Compile(r.Pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, c := range r.Cases {
			var s string
			var want []string
			if json.Unmarshal(c[0], &s) != nil || json.Unmarshal(c[1], &want) != nil {
				t.Fatal("testdata/matches.json is damaged")
			}
			if got := all(re, s); !slices.Equal(got, want) {
				t.Errorf("%s\n  in %q\n  got  %q\n  want %q", r.Pattern, s, got, want)
			}
		}
	}
}

func all(re *Regexp, s string) (out []string) {
	for at := 0; ; {
		start, end := re.Find(s, at)
		if start < 0 {
			return out
		}
		if end > start {
			out = append(out, s[start:end])
		}
		at = max(end, start+1)
	}
}

func TestRefusals(t *testing.T) {
	for pattern, want := range map[string]string{
		"(a":              "a group is not closed",
		"a)":              "without its opening bracket",
		"[a":              "a class is not closed",
		"*a":              "nothing before",
		`(a)\1`:           "back reference",
		`\p{Klingon}`:     `\p{Klingon} is not known`,
		"(?:a*)*":         "may match nothing",
		"(?<=a+)b":        "no fixed length",
		"(?z)a":           "is not known",
		`\`:               "ends with a backslash",
		"[b-a]":           "backwards",
		"(?:ab){1,5000}c": "more than 1000 times",
		strings.Repeat("(", 500) + "a" + strings.Repeat(")", 500): "too deep",
	} {
		if _, err := Compile(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", pattern, err, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(`[^\r\n\p{L}]?[\p{Lu}&&[^\p{Han}]]*(?i:'s)?|\s+(?!\S)`, "Hello WORLD's\n")
	f.Add(`(?<=a)b{1,3}+|(?>x|xy)z`, "abbbxyz")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 30 || len(text) > 20 {
			t.Skip("long")
		}
		re, err := Compile(pattern)
		if err != nil {
			return
		}
		text = strings.ToValidUTF8(text, "?")
		for at := 0; at <= len(text); {
			start, end := re.Find(text, at)
			if start < 0 {
				return
			}
			if start < at || end < start || end > len(text) {
				t.Fatalf("%q in %q from %d: %d:%d", pattern, text, at, start, end)
			}
			at = max(end, start+1)
		}
	})
}
