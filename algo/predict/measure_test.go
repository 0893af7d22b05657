package predict

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// Figures and words of jieba 0.42.1, rouge_chinese 1.0.3 and NLTK, by LLaMA-Factory's
// ComputeSimilarity. 4,000 random pairs of such texts agreed when this was written.
func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		predict, label string
		want           [4]float64 // BLEU-4, ROUGE-1, 2, L
		words          string
	}{
		{"The cat sat on the mat.", "The cat lay on the mat, happily.", [4]float64{51.1546, 75, 42.8571, 75}, "The| |cat| |sat| |on| |the| |mat|."},
		{"", "x", [4]float64{}, ""},
		{"abc", "", [4]float64{}, "abc"},
		{"same text here", "same text here", [4]float64{100, 100, 100, 100}, "same| |text| |here"},
		{
			"I like C++ and AT&T, not c#: 3.14% of v1.2.3!", "C++ costs 50% more? Yes. AT&T v1.2",
			[4]float64{24.3057, 33.3333, 0, 25},
			"I| |like| |C++| |and| |AT&T|,| |not| |c#|:| |3.14%| |of| |v1.2|.|3|!",
		},
		{"One? Two! Three...... four", "Two! One? Three…… four\r\nfive", [4]float64{55.8832, 80, 28.5714, 50}, "One|?| |Two|!| |Three|......| |four"},
		{"  \n", "word", [4]float64{}, " | |\n"},
		{"don't x-y_z", "don t x y z", [4]float64{25.2119, 76.9231, 18.1818, 76.9231}, "don|'|t| |x|-|y|_|z"},
	} {
		m := Measure([]Answer{{Predict: c.predict, Label: c.label}}, "p_")
		for i, key := range []string{"p_bleu-4", "p_rouge-1", "p_rouge-2", "p_rouge-l"} {
			if got := m.Get(key).(float64); math.Abs(got-c.want[i]) > 1e-9 {
				t.Errorf("%q, %q: %s %v, want %v", c.predict, c.label, key, got, c.want[i])
			}
		}
		if got := strings.Join(cut(c.predict), "|"); got != c.words {
			t.Errorf("%q: words %q, want %q", c.predict, got, c.words)
		}
	}
}

// TestMeasureChinese: BLEU uses characters, ROUGE is left out with a note.
func TestMeasureChinese(t *testing.T) {
	m := Measure([]Answer{{Predict: "短句", Label: "短的句子"}, {Predict: "a", Label: "a"}}, "")
	if got := m.Get("bleu-4").(float64); math.Abs(got-(13.0065+bleuOfOneLetter)/2) > 1e-9 {
		t.Errorf("bleu-4 %v", got)
	}
	if s, _ := m.Get("rouge_left_out").(string); !strings.HasPrefix(s, "1 of 2 rows have Chinese text") || len(m) != 2 {
		t.Errorf("%v", m)
	}
}

// bleuOfOneLetter is NLTK's for "a" and "a": three orders without a match, 1/2, 1/4, 1/8.
const bleuOfOneLetter = 35.3553

func TestPadding(t *testing.T) {
	rows := []Row{{Prompt: make([]int32, 3)}, {Prompt: make([]int32, 5)}, {Prompt: make([]int32, 8)}, {Prompt: make([]int32, 2)}, {Prompt: make([]int32, 2)}}
	tok := demo(t)
	_, pad, _ := tok.Pad()
	for multiple, want := range map[int][]bool{1: {true, false, false, true, false}, 8: {true, true, false, true, true}} {
		var got []bool
		for _, p := range Padding(rows, 2, multiple, tok) {
			got = append(got, slices.Equal(p, []int32{pad}))
		}
		if !slices.Equal(got, want) {
			t.Errorf("multiple of %d: %v, want %v", multiple, got, want)
		}
	}
}
