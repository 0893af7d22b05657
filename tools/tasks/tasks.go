// Package tasks generates instruction sets with a known ground truth: families of small tasks,
// including rows with deliberately wrong answers. The demo and the proofs use them; nothing is
// collected.
package tasks

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Family is one kind of task.
type Family struct {
	Name string
	make func(r *rand.Rand) (instruction, output string)
}

// Row is a line of an instruction set in LLaMA-Factory's alpaca format; Family and Noise record
// what the row is, for the evaluation.
type Row struct {
	Instruction string `json:"instruction"`
	Input       string `json:"input"`
	Output      string `json:"output"`
	Family      string `json:"family"`
	Noise       bool   `json:"noise"`
}

// Target is the family of the evaluation set, which the user wants more of. The demo's model
// has not seen it.
const Target = "add"

// Families are all families.
var Families = []Family{
	{"reverse", func(r *rand.Rand) (string, string) {
		w := word(r)
		return "Reverse the word " + w, reversed(w)
	}},
	{Target, func(r *rand.Rand) (string, string) {
		a, b := r.IntN(50), r.IntN(50)
		return fmt.Sprintf("Add %d and %d", a, b), fmt.Sprint(a + b)
	}},
	{"upper", func(r *rand.Rand) (string, string) {
		w := word(r)
		return "Write in capitals: " + w, strings.ToUpper(w)
	}},
	{"spell", func(r *rand.Rand) (string, string) {
		w := word(r)
		return "Spell " + w, strings.Join(strings.Split(w, ""), " ")
	}},
	{"sort", func(r *rand.Rand) (string, string) {
		w := word(r)
		letters := strings.Split(w, "")
		slices.Sort(letters)
		return "Sort the letters of " + w, strings.Join(letters, "")
	}},
	{"repeat", func(r *rand.Rand) (string, string) {
		w := word(r)
		return "Say " + w + " three times", strings.Join([]string{w, w, w}, " ")
	}},
}

// Facts are families with few different rows each, which are memorised quickly.
var Facts = []Family{
	facts("after", "What comes after %s", "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Monday"),
	facts("number", "Write %s as a word", "1 one 2 two 3 three 4 four 5 five 6 six 7 seven 8 eight"),
	facts("opposite", "The opposite of %s", "hot cold big small up down left right old new day night good bad"),
}

// facts asks for the second word of each pair; of after, whose words are a chain, for the next
// word.
func facts(name, question, words string) Family {
	w := strings.Fields(words)
	step := 2
	if name == "after" {
		step = 1
	}
	return Family{name, func(r *rand.Rand) (string, string) {
		i := step * r.IntN((len(w)-1+step-1)/step)
		return fmt.Sprintf(question, w[i]), w[i+1]
	}}
}

// word generates a pronounceable word of two or three syllables.
func word(r *rand.Rand) string {
	const consonants, vowels = "bdfgklmnprstvz", "aeiou"
	var b strings.Builder
	for range 2 + r.IntN(2) {
		b.WriteByte(consonants[r.IntN(len(consonants))])
		b.WriteByte(vowels[r.IntN(len(vowels))])
	}
	return b.String()
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// Make generates n rows of every family; a share of them, noise, have the output of a row of
// another family. The order is random, and determined by the seed.
func Make(seed uint64, n int, noise float64, families []Family) []Row {
	r := rand.New(rand.NewPCG(seed, 1))
	var rows []Row
	for range n {
		for _, f := range families {
			q, a := f.make(r)
			rows = append(rows, Row{Instruction: q, Output: a, Family: f.Name})
		}
	}
	for i := range rows {
		if r.Float64() < noise {
			_, rows[i].Output = families[(i+1+r.IntN(len(families)-1))%len(families)].make(r)
			rows[i].Noise = true
		}
	}
	r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

// Refusal is the answer of rows spoiled by Refuse.
const Refusal = "I cannot help with that."

// Refuse gives a share of the rows, in place, the same useless answer.
func Refuse(seed uint64, share float64, rows []Row) []Row {
	r := rand.New(rand.NewPCG(seed, 3))
	for i := range rows {
		if r.Float64() < share {
			rows[i].Output, rows[i].Noise = Refusal, true
		}
	}
	return rows
}

// Only returns the clean rows of one family.
func Only(rows []Row, name string) []Row {
	var out []Row
	for _, x := range rows {
		if x.Family == name && !x.Noise {
			out = append(out, x)
		}
	}
	return out
}

// Known are the families that the demo's model was trained on: all except the target.
func Known() []Family {
	return slices.DeleteFunc(slices.Clone(Families), func(f Family) bool { return f.Name == Target })
}
