package decoder

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
)

// TestClassifier compares our logits of packed rows with transformers' of padded ones
// (tools/golden/classifier.py). Our rows contain the padding as tokens.
func TestClassifier(t *testing.T) {
	for name, labels := range map[string]int{"llama": 1, "qwen2": 3} {
		dir := filepath.Join("testdata/classifier", name)
		var golden struct {
			Rows   [][]int32
			Logits [][]float32
		}
		text, err := os.ReadFile(filepath.Join(dir, "golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &golden); err != nil {
			t.Fatal(err)
		}
		dev := cpu.New(2)
		defer dev.Close()
		if n, err := CheckClassifier(dir); n != labels || err != nil {
			t.Fatalf("%s: %d labels, %v; want %d", name, n, err, labels)
		}
		c, err := LoadClassifier(dev, dir)
		if err != nil {
			t.Fatal(err)
		}
		b := Batch{Segments: []int32{0}}
		for _, r := range golden.Rows {
			b.Tokens = append(b.Tokens, r...)
			b.Segments = append(b.Segments, int32(len(b.Tokens)))
		}
		got, err := c.Logits(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			within(t, name, got[i], golden.Logits[i], 1e-5)
		}
		c.Close()
		if dev.Used() != 0 {
			t.Errorf("%s: %d bytes in use after Close", name, dev.Used())
		}
	}
}

func TestNoClassifier(t *testing.T) {
	_, err := CheckClassifier(unpacked(t))
	if err == nil || !strings.Contains(err.Error(), "that is Qwen2ForSequenceClassification") {
		t.Errorf("a language model as classifier: %v", err)
	}
}
