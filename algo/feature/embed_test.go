package feature

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/driver/cpu"
)

// golden has a real tokenizer and model, outside the repository.
const golden = "../../../shared/golden/models/tiny-llama"

func TestEmbed(t *testing.T) {
	if _, err := os.Stat(golden); err != nil {
		t.Skip(golden + " is not here")
	}
	dev := cpu.New(2)
	defer dev.Close()
	texts := []string{"Name a famous Italian singer.", "Name a famous French singer.", "int main() { return 0; }"}
	for _, pooling := range []Pooling{Mean, Last, ""} {
		e, err := OpenEmbedder(dev, golden, EmbedOptions{Pooling: pooling})
		if err != nil {
			t.Fatal(err)
		}
		all, err := e.Embed(ctx(), texts)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range texts {
			if n := length(all, i); math.Abs(n-1) > 1e-5 {
				t.Errorf("%q has a vector of length %v", text, n)
			}
			one, err := e.Embed(ctx(), []string{text})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(one.Row(0), all.Row(i)) {
				t.Errorf("the vector of %q depends on the texts beside it", text)
			}
		}
		if _, err := e.Embed(ctx(), []string{""}); err == nil && pooling == Last {
			t.Error("an empty text has a vector")
		}
		e.Close()
	}
}

func length(v neighbor.Vectors, i int) float64 {
	var s float64
	for _, x := range v.Row(i) {
		s += float64(x) * float64(x)
	}
	return math.Sqrt(s)
}

func TestLongTextsAndInstructions(t *testing.T) {
	if _, err := os.Stat(golden); err != nil {
		t.Skip(golden + " is not here")
	}
	dev := cpu.New(1)
	defer dev.Close()
	e, err := OpenEmbedder(dev, golden, EmbedOptions{MaxTokens: 5, Instruction: "Find it"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	want := e.tokenizer.Encode("Instruct: Find it\nQuery:one two three four five six seven")[:5]
	if got := e.encode("one two three four five six seven"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestDeclaredPooling(t *testing.T) {
	for text, want := range map[string]Pooling{
		`{"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": false}`: Last,
		`{"pooling_mode_mean_tokens": true}`:                                  Mean,
		`{"pooling_mode_cls_token": true}`:                                    "",
		`{`:                                                                   "",
	} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "1_Pooling"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "1_Pooling", "config.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := declaredPooling(dir)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	if got, err := declaredPooling(t.TempDir()); got != Last || err != nil {
		t.Errorf("a folder that declares nothing: %q, %v", got, err)
	}
}

// llama.cpp's numbers: 0 none, 1 mean, 2 cls, 3 last, 4 rank.
func TestGGUFPooling(t *testing.T) {
	declares := map[string][]gguf.Value{"absent": nil}
	for kind := range uint32(5) {
		declares[fmt.Sprint(kind)] = []gguf.Value{{Key: "llama.pooling_type", Value: kind}}
	}
	want := map[string]Pooling{"absent": Last, "0": Last, "1": Mean, "2": "", "3": Last, "4": ""}
	for name, values := range declares {
		var file bytes.Buffer
		values = append(values, gguf.Value{Key: "general.architecture", Value: "llama"})
		if err := gguf.Write(&file, values, nil, nil); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "m.gguf")
		if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := declaredPooling(path)
		if got != want[name] || (err != nil) != (want[name] == "") {
			t.Errorf("pooling_type %s: %q, %v", name, got, err)
		}
	}
}

// A GGUF file embeds as a folder does.
func TestEmbedGGUF(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	e, err := OpenEmbedder(dev, "../../model/gguf/testdata/llama.gguf", EmbedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	v, err := e.Embed(ctx(), []string{"abc a", "abc ab"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		var sum float64
		for _, x := range v.Row(i) {
			sum += float64(x) * float64(x)
		}
		if math.Abs(sum-1) > 1e-5 {
			t.Errorf("vector %d: the square of its length is %v", i, sum)
		}
	}
}

func TestRowText(t *testing.T) {
	want := "Instruction: Add.\nInput: 1 2\nOutput: 3\nPrediction:"
	if got := RowText("Add.", "1 2", "3", ""); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// countdown is done after Err was called that many times.
type countdown struct {
	context.Context
	left *int
}

func (c countdown) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestEmbedGoesOn: whenever a run is interrupted, the finished vectors are kept, and the
// same call writes the same bits as a run without interruption.
func TestEmbedGoesOn(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	texts := []string{"one", "two words", "a longer text of several words", "zwei", "three 3 3 3", "4"}
	open := func(tokens int) *Embedder {
		e, err := OpenEmbedder(dev, "../../tools/dataflex-demo/model", EmbedOptions{Tokens: tokens})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		return e
	}
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.npy")
	if err := open(8).Write(ctx(), texts, whole); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "v.npy")
	kept, interrupted := 0, 0
	for {
		left := len(texts) + 1 + interrupted // tokenises the texts, then finishes one batch more than before
		err := open(8).Write(countdown{ctx(), &left}, texts, path)
		if err == nil {
			break
		}
		var done, of int
		if _, scan := fmt.Sscanf(err.Error(), "%d of %d texts are finished and kept in "+path+".unfinished;", &done, &of); scan != nil || !errors.Is(err, context.Canceled) || done <= kept || of != len(texts) {
			t.Fatalf("%v after %d", err, kept)
		}
		if _, err := os.Stat(path); err == nil {
			t.Fatal("an unfinished file was written")
		}
		kept = done
		interrupted++
	}
	if interrupted < 2 {
		t.Errorf("ended %d times only", interrupted)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("other bits than in one go (%v)", err)
	}
	if _, err := os.Stat(path + ".unfinished"); err == nil {
		t.Error("the finished run leaves its folder")
	}
	// Other texts have another key.
	left := len(texts) + 1
	if err := open(8).Write(countdown{ctx(), &left}, texts, path); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := open(8).Write(ctx(), append(texts[1:], "new"), path); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || bytes.Equal(got, want) {
		t.Errorf("the rows of other texts were taken (%v)", err)
	}
}
