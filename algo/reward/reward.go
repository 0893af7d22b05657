// Package reward rates generated answers: by a rule, by a user's program, by a reward model, or
// by a judge behind an HTTP interface. A reward is a finite number, larger for better; a judge
// that fails is an error, never a reward of 0.
package reward

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Case is one answer to rate.
type Case struct {
	Prompt    string `json:"prompt"`
	Reference string `json:"reference"` // the data's own answer
	Answer    string `json:"answer"`    // the generated answer

	Instruction string `json:"-"` // what Prompt was made from
	Input       string `json:"-"`
}

// Reward rates answers: one number for each, in order.
type Reward interface {
	Score(ctx context.Context, cases []Case) ([]float64, error)
}

// rule is a reward that depends on a single case.
type rule func(Case) float64

// Score applies the rule to every case.
func (r rule) Score(_ context.Context, cases []Case) ([]float64, error) {
	out := make([]float64, len(cases))
	for i, c := range cases {
		out[i] = r(c)
	}
	return out, nil
}

// The rules: 1 or 0.
var (
	// ExactMatch requires the reference, ignoring the amount of white space.
	ExactMatch Reward = rule(func(c Case) float64 { return one(words(c.Answer) == words(c.Reference)) })

	// Contains requires that the answer contains the reference, ignoring the amount of white
	// space.
	Contains Reward = rule(func(c Case) float64 {
		return one(words(c.Reference) != "" && strings.Contains(words(c.Answer), words(c.Reference)))
	})

	// Numeric requires that the last numbers of answer and reference are equal: 1,000 and
	// 1000.0 are, with a relative tolerance of 1e-9.
	Numeric Reward = rule(func(c Case) float64 {
		x, ok := lastNumber(c.Answer)
		y, ok2 := lastNumber(c.Reference)
		return one(ok && ok2 && math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y)))
	})
)

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// lastNumber is the last decimal number of a text, including its exponent; commas between
// digits separate thousands, and a minus belongs to the number unless a digit precedes it.
func lastNumber(s string) (float64, bool) {
	end := strings.LastIndexAny(s, "0123456789")
	if end < 0 {
		return 0, false
	}
	start, scale := firstDigit(s, end), ""
	if e := exponent(s, start); e > 0 && !strings.ContainsAny(s[start:end+1], ".,") {
		scale, end = s[e:end+1], e-1
		start = firstDigit(s, end)
	}
	text := strings.ReplaceAll(strings.TrimLeft(s[start:end+1], ","), ",", "")
	for strings.Count(text, ".") > 1 { // 3.14.15: a list, not a number
		_, text, _ = strings.Cut(text, ".")
	}
	x, err := strconv.ParseFloat(text+scale, 64)
	if err != nil {
		return 0, false
	}
	if start > 0 && s[start-1] == '-' && (start == 1 || !digitAt(s, start-2)) {
		x = -x
	}
	return x, true
}

func digitAt(s string, i int) bool { return i >= 0 && s[i] >= '0' && s[i] <= '9' }

// firstDigit is the index of the first digit of the number that ends with the byte at end.
func firstDigit(s string, end int) int {
	start := end
	for start > 0 && (digitAt(s, start-1) || (s[start-1] == '.' || s[start-1] == ',') && digitAt(s, start)) {
		start--
	}
	return start
}

// exponent is the index of the exponent whose digits begin at start, 0 for none.
func exponent(s string, start int) int {
	e := start - 1
	if e > 0 && (s[e] == '-' || s[e] == '+') {
		e--
	}
	if e > 0 && (s[e] == 'e' || s[e] == 'E') && digitAt(s, e-1) {
		return e
	}
	return 0
}

// check requires one finite number per case.
func check(scores []float64, cases int) error {
	if len(scores) != cases {
		return fmt.Errorf("%d rewards for %d answers", len(scores), cases)
	}
	for i, x := range scores {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("the reward of answer %d is %v", i, x)
		}
	}
	return nil
}
