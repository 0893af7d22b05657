package processor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// vectors were produced by executing LLaMA-Factory 0.9.4's rules with a toy
// tokenizer: a character is its code point, <s> is 1, </s> is 2, the pad token 0.
type vectors struct {
	InferSeqlen []struct {
		Source int    `json:"source_len"`
		Target int    `json:"target_len"`
		Cutoff int    `json:"cutoff"`
		Result [2]int `json:"result"`
	} `json:"infer_seqlen"`
	Knapsack []struct {
		Numbers  []int   `json:"numbers"`
		Capacity int     `json:"capacity"`
		Result   [][]int `json:"result"`
	} `json:"greedy_knapsack"`
	Supervised []struct {
		Case, Template, System string
		Args                   struct {
			CutoffLen     int   `json:"cutoff_len"`
			TrainOnPrompt bool  `json:"train_on_prompt"`
			MaskHistory   bool  `json:"mask_history"`
			Packing       *bool `json:"packing"`
			NeatPacking   bool  `json:"neat_packing"`
		}
		EnableThinking *bool `json:"enable_thinking"`
		Turns          []struct{ Role, Content string }
		InputIDs       []int32 `json:"input_ids"`
		Labels         []int32
	}
	Packed []struct {
		Case          string
		Cutoff        int  `json:"cutoff_len_after_decrement"`
		NeatPacking   bool `json:"neat_packing"`
		Examples      [][2]string
		InputIDs      [][]int32 `json:"input_ids"`
		AttentionMask [][]int32 `json:"attention_mask"`
		PositionIDs   [][]int32 `json:"position_ids"`
		Labels        [][]int32
	}
	Pretrain []struct {
		Case, Template string
		Cutoff         int `json:"cutoff_len"`
		Packing        bool
		AddBOS         bool `json:"add_bos_token"`
		Texts          []string
		InputIDs       [][]int32 `json:"input_ids"`
	}
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// toyTokenizer is the toy tokenizer as a byte-level BPE without merges.
func toyTokenizer(t *testing.T, addBOS bool) *tokenizer.Tokenizer {
	t.Helper()
	vocab := map[string]int{"<pad>": 0, "<s>": 1, "</s>": 2}
	other := rune(256) // GPT-2 writes bytes without a glyph as U+0100 and on
	for b := range 256 {
		glyph := rune(b)
		if b < '!' || b > '~' && b < 0xa1 || b == 0xad {
			glyph = other
			other++
		}
		if b > 2 {
			vocab[string(glyph)] = b
		} else {
			vocab[string(glyph)] = 256 + b
		}
	}
	special := func(id int, text string) map[string]any {
		return map[string]any{"id": id, "content": text, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
	dir := t.TempDir()
	for name, v := range map[string]any{
		"tokenizer.json": map[string]any{
			"version": "1.0", "added_tokens": []any{special(0, "<pad>"), special(1, "<s>"), special(2, "</s>")},
			"normalizer": nil, "pre_tokenizer": byteLevel, "decoder": byteLevel, "post_processor": nil,
			"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}},
		},
		"tokenizer_config.json": map[string]any{"tokenizer_class": "LlamaTokenizer", "add_bos_token": addBOS, "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
	} {
		text, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestInferLengths(t *testing.T) {
	for _, c := range readVectors(t).InferSeqlen {
		if s, g := InferLengths(c.Source, c.Target, c.Cutoff); [2]int{s, g} != c.Result {
			t.Errorf("%+v: %d %d", c, s, g)
		}
	}
}

func TestKnapsack(t *testing.T) {
	for _, c := range readVectors(t).Knapsack {
		var got [][]int
		for _, g := range knapsack(c.Numbers, c.Capacity) {
			var lengths []int
			for _, i := range g {
				lengths = append(lengths, c.Numbers[i])
			}
			got = append(got, lengths)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.Result) {
			t.Errorf("%v in %d: %v, want %v", c.Numbers, c.Capacity, got, c.Result)
		}
	}
	// Of equal lengths the last goes first.
	if got := fmt.Sprint(knapsack([]int{2, 3, 2, 3, 1}, 5)); got != "[[3 2] [1 0] [4]]" {
		t.Errorf("indices %s", got)
	}
}

// The knapsack against a plain transcription of upstream's: sort, bisect, pop.
func TestKnapsackPlain(t *testing.T) {
	state := uint32(1)
	for round := range 200 {
		capacity := 1 + round%37
		lengths := make([]int, round)
		for i := range lengths {
			state = state*1664525 + 1013904223
			lengths[i] = int(state>>16) % (capacity + 1)
		}
		sorted := slices.Sorted(slices.Values(lengths))
		var want [][]int
		for len(sorted) > 0 {
			var g []int
			for room := capacity; ; {
				at, _ := slices.BinarySearch(sorted, room+1)
				if at == 0 {
					break
				}
				room -= sorted[at-1]
				g = append(g, sorted[at-1])
				sorted = slices.Delete(sorted, at-1, at)
			}
			want = append(want, g)
		}
		used := make([]bool, len(lengths))
		var got [][]int
		for _, g := range knapsack(lengths, capacity) {
			var sizes []int
			for _, i := range g {
				if used[i] {
					t.Fatalf("index %d is packed twice", i)
				}
				used[i] = true
				sizes = append(sizes, lengths[i])
			}
			got = append(got, sizes)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%v in %d: %v, want %v", lengths, capacity, got, want)
		}
	}
}

func TestPacked(t *testing.T) {
	tok := toyTokenizer(t, false)
	for _, c := range readVectors(t).Packed {
		var samples []data.Sample
		for i, x := range c.Examples {
			samples = append(samples, data.Sample{
				ID:     data.ID{Dataset: "d", Row: i},
				Prompt: []data.Message{{Role: data.User, Content: x[0]}}, Response: []data.Message{{Role: data.Assistant, Content: x[1]}},
			})
		}
		yes := true
		e := encoder{Options: Options{CutoffLen: c.Cutoff + 1, Packing: &yes, NeatPacking: c.NeatPacking}}
		got, dropped, err := e.run(samples, func(s *data.Sample) ([]template.Pair, error) {
			return []template.Pair{{Source: tok.Encode(s.Prompt[0].Content), Target: tok.Encode(s.Response[0].Content)}}, nil
		})
		if err != nil || len(dropped) > 0 || len(got) != len(c.InputIDs) {
			t.Fatalf("%s: %d rows, dropped %v, %v", c.Case, len(got), dropped, err)
		}
		for i, x := range got {
			if !slices.Equal(x.InputIDs, c.InputIDs[i]) || !slices.Equal(x.Labels, c.Labels[i]) || !slices.Equal(x.PositionIDs, c.PositionIDs[i]) {
				t.Errorf("%s row %d: %+v", c.Case, i, x)
			}
			if c.NeatPacking && !slices.Equal(segmentNumbers(x), c.AttentionMask[i]) {
				t.Errorf("%s row %d: segments %v, upstream's mask %v", c.Case, i, x.Segments, c.AttentionMask[i])
			}
			if !c.NeatPacking && (len(x.Segments) != 2 || len(x.Members) < 1) {
				t.Errorf("%s row %d: segments %v", c.Case, i, x.Segments)
			}
		}
		if got[1].Members[0].Row != 1 || got[1].Members[1].Row != 4 {
			t.Errorf("%s: row 1 holds %v", c.Case, got[1].Members)
		}
	}
}

// segmentNumbers is upstream's attention mask of a neatly packed row: 1, 1, 2, ... 0.
func segmentNumbers(x data.Example) []int32 {
	out := make([]int32, len(x.InputIDs))
	for s := range len(x.Segments) - 1 {
		for i := x.Segments[s]; i < x.Segments[s+1]; i++ {
			out[i] = int32(s + 1)
		}
	}
	return out
}

func TestPretrain(t *testing.T) {
	for _, c := range readVectors(t).Pretrain {
		o := Options{CutoffLen: c.Cutoff}
		if !c.Packing {
			o.Packing = new(bool)
		}
		got, _, err := pretrain(toyTokenizer(t, c.AddBOS), named(t, c.Template), texts(c.Texts...), o)
		if len(c.InputIDs) == 0 {
			if err == nil || !strings.Contains(err.Error(), "Cannot find sufficient samples, consider increasing dataset size") {
				t.Errorf("%s: %v", c.Case, err)
			}
			continue
		}
		var ids [][]int32
		for _, x := range got {
			ids = append(ids, x.InputIDs)
			if !slices.Equal(x.Labels, x.InputIDs) { // no pad token in the texts
				t.Errorf("%s: labels %v of %v", c.Case, x.Labels, x.InputIDs)
			}
		}
		if err != nil || !reflect.DeepEqual(ids, c.InputIDs) {
			t.Errorf("%s: %v, %v; want %v", c.Case, ids, err, c.InputIDs)
		}
	}
}

func named(t *testing.T, name string) *template.Template {
	t.Helper()
	tmpl, err := template.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func texts(all ...string) []data.Sample {
	var out []data.Sample
	for i, s := range all {
		out = append(out, data.Sample{ID: data.ID{Dataset: "d", Row: i}, Prompt: []data.Message{{Role: data.User, Content: s}}})
	}
	return out
}

// Explicit packing subtracts one from the cutoff; a block knows its documents; the pad token
// has no label; a broken row is dropped.
func TestPretrainDetails(t *testing.T) {
	yes := true
	samples := texts("abcd", "e<pad>g", "hijklmn")
	samples = append(samples, data.Sample{ID: data.ID{Dataset: "d", Row: 3}, Broken: "null value: column 'text' is null"})
	got, dropped, err := pretrain(toyTokenizer(t, false), named(t, "default"), samples, Options{CutoffLen: 6, Packing: &yes})
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	if want := []int32{'e', data.IgnoreIndex, 'g', 2, 'h'}; !slices.Equal(got[1].Labels, want) {
		t.Errorf("labels %v", got[1].Labels)
	}
	if len(got[1].Members) != 2 || got[1].Members[0].Row != 1 || got[1].Members[1].Row != 2 || got[1].Row != 1 {
		t.Errorf("members %v", got[1].Members)
	}
	if w := Warnings(dropped); len(w) != 1 || w[0] != "dataset d: dropped 1 row: null value: column 'text' is null (row 3)" {
		t.Errorf("warnings %q", w)
	}
	// Three workers: every document is its own batch, and short ones are dropped.
	got, _, err = pretrain(toyTokenizer(t, false), named(t, "default"), texts("abcd", "efg", "hijklmn"), Options{CutoffLen: 5, Workers: 128})
	if err != nil || len(got) != 2 || got[1].InputIDs[0] != 'h' {
		t.Errorf("128 workers: %v, %v", got, err)
	}
}

// The shares of datasets' map: 10 rows for 3 workers are 4, 3 and 3.
func TestBatches(t *testing.T) {
	for want, o := range map[string]Options{
		"[[0 10]]":                               {},
		"[[0 4] [4 7] [7 10]]":                   {Workers: 3},
		"[[0 2] [2 4] [4 6] [6 7] [7 9] [9 10]]": {Workers: 3, BatchSize: 2},
		"[[0 5] [5 10]]":                         {Workers: 2, BatchSize: -1},
	} {
		if got := fmt.Sprint(o.Batches(10)); got != want {
			t.Errorf("%+v: %s, want %s", o, got, want)
		}
	}
	if got := (Options{Workers: 16}).Batches(2); len(got) != 2 {
		t.Errorf("more workers than rows: %v", got)
	}
}
