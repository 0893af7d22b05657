package predict

import (
	"math"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/predict/jieba"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
)

// Measure computes LLaMA-Factory's ComputeSimilarity: BLEU-4 over characters, and ROUGE-1, 2
// and L (F1) over jieba's words, each in percent, as the mean over rows of values rounded to
// four digits.
func Measure(answers []Answer, prefix string) pyjson.Object {
	var bleus float64
	var rouges [3]float64
	for _, a := range answers {
		bleus += report.Round(100*bleu(a.Predict, a.Label), 4)
		for i, f := range rouge(a.Predict, a.Label) {
			rouges[i] += report.Round(100*f, 4)
		}
	}
	n := float64(len(answers))
	out := pyjson.Object{{Key: prefix + "bleu-4", Value: bleus / n}}
	for i, name := range []string{"rouge-1", "rouge-2", "rouge-l"} {
		out = append(out, pyjson.Field{Key: prefix + name, Value: rouges[i] / n})
	}
	return out
}

// bleu is NLTK's sentence_bleu over characters against one reference, with uniform weights up
// to four-grams and smoothing method 3 (NIST geometric sequence: Chen and Cherry, WMT 2014).
func bleu(predict, label string) float64 {
	hypothesis, reference := []rune(predict), []rune(label)
	sum, halvings := 0.0, 0
	for n := 1; n <= 4; n++ {
		have, want := grams(hypothesis, n), grams(reference, n)
		matches, total := 0, max(1, len(hypothesis)-n+1)
		for g, count := range have {
			matches += min(count, want[g])
		}
		switch {
		case matches == 0 && n == 1:
			return 0
		case matches == 0:
			halvings++
			sum -= math.Log(math.Ldexp(float64(total), halvings)) / 4
		default:
			sum += math.Log(float64(matches)/float64(total)) / 4
		}
	}
	if h, r := float64(len(hypothesis)), float64(len(reference)); h <= r {
		sum += 1 - r/h // brevity penalty
	}
	return math.Exp(sum)
}

func grams(text []rune, n int) map[string]int {
	out := map[string]int{}
	for i := 0; i+n <= len(text); i++ {
		out[string(text[i:i+n])]++
	}
	return out
}

// rouge is rouge_chinese's F1 of ROUGE-1, ROUGE-2, both over sets of n-grams, and ROUGE-L.
func rouge(predict, label string) (f [3]float64) {
	p, l := strings.Join(jieba.Cut(predict), " "), strings.Join(jieba.Cut(label), " ")
	if len(fields(p)) == 0 || len(fields(l)) == 0 {
		return f
	}
	hypothesis, reference := words(p), words(l)
	for n := 1; n <= 2; n++ {
		have, want := sequences(hypothesis, n), sequences(reference, n)
		overlap := 0
		for g := range have {
			if want[g] {
				overlap++
			}
		}
		f[n-1] = f1(overlap, len(have), len(want))
	}
	f[2] = f1(commonLength(hypothesis, reference), len(hypothesis), len(reference))
	return f
}

func f1(overlap, have, want int) float64 {
	var precision, recall float64
	if have > 0 {
		precision = float64(overlap) / float64(have)
	}
	if want > 0 {
		recall = float64(overlap) / float64(want)
	}
	return 2 * precision * recall / (precision + recall + 1e-8)
}

func sequences(words []string, n int) map[string]bool {
	out := map[string]bool{}
	for i := 0; i+n <= len(words); i++ {
		out[strings.Join(words[i:i+n], " ")] = true
	}
	return out
}

// words returns the words of a text's sentences. As with upstream's split(" "), a sentence of
// only spaces is one empty word.
func words(text string) (out []string) {
	for _, sentence := range sentences(text) {
		if sentence != "" {
			out = append(out, strings.Split(strings.Join(fields(sentence), " "), " ")...)
		}
	}
	return out
}

// commonLength returns the length of the longest common subsequence.
func commonLength(a, b []string) int {
	row := make([]int, len(b)+1)
	for _, x := range a {
		before := 0 // of the previous row, one to the left
		for j, y := range b {
			above := row[j+1]
			if x == y {
				row[j+1] = before + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			before = above
		}
	}
	return slices.Max(row)
}
