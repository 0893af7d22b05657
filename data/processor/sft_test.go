package processor

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/template"
)

func TestSupervised(t *testing.T) {
	tok := toyTokenizer(t, false)
	for _, c := range readVectors(t).Supervised {
		tmpl, err := named(t, c.Template).With(template.Options{EnableThinking: c.EnableThinking})
		if err != nil {
			t.Fatal(err)
		}
		s := data.Sample{ID: data.ID{Dataset: "d"}, System: c.System}
		for i, m := range c.Turns {
			turn := data.Message{Role: data.Role(m.Role), Content: m.Content}
			if i == len(c.Turns)-1 {
				s.Response = []data.Message{turn}
			} else {
				s.Prompt = append(s.Prompt, turn)
			}
		}
		got, dropped, err := sft(tok, tmpl, []data.Sample{s}, Options{
			CutoffLen: c.Args.CutoffLen, TrainOnPrompt: c.Args.TrainOnPrompt, MaskHistory: c.Args.MaskHistory,
			Packing: c.Args.Packing, NeatPacking: c.Args.NeatPacking,
		})
		if c.InputIDs == nil {
			if err == nil || len(dropped) != 1 || !strings.Contains(err.Error(), "Cannot find valid samples") {
				t.Errorf("%s: dropped %v, %v", c.Case, dropped, err)
			}
			continue
		}
		if err != nil || len(got) != 1 || !slices.Equal(got[0].InputIDs, c.InputIDs) || !slices.Equal(got[0].Labels, c.Labels) {
			t.Errorf("%s (%s): %v, %v\n want %v\n      %v", c.Case, c.Template, got, err, c.InputIDs, c.Labels)
		}
	}
}

// letters formats a conversation as the letters of its messages.
func letters(s *data.Sample) ([]template.Pair, error) {
	var out []template.Pair
	messages := append(slices.Clone(s.Prompt), s.Response...)
	for i := 0; i < len(messages); i += 2 {
		out = append(out, template.Pair{Source: ids(messages[i].Content), Target: ids(messages[i+1].Content)})
	}
	if messages[0].Content == "bad" {
		return nil, errors.New("Invalid JSON format in tool description: [bad]")
	}
	return out, nil
}

func ids(s string) (out []int32) {
	for _, r := range s {
		out = append(out, r)
	}
	return out
}

func answered(row int, turns ...string) data.Sample {
	s := data.Sample{ID: data.ID{Dataset: "d", Row: row}}
	for _, m := range turns[:len(turns)-1] {
		s.Prompt = append(s.Prompt, data.Message{Content: m})
	}
	s.Response = []data.Message{{Content: turns[len(turns)-1]}}
	return s
}

// A source without tokens gets no label for the eos of the answer before it; upstream writes a
// label without a token.
func TestEmptySource(t *testing.T) {
	e := encoder{Options: Options{CutoffLen: 20}, efficientEOS: true, eos: 2}
	got, _, err := e.run([]data.Sample{answered(0, "ab", "C", "", "D")}, letters)
	if err != nil || !slices.Equal(got[0].InputIDs, []int32{'a', 'b', 'C', 'D', 2}) || !slices.Equal(got[0].Labels, []int32{-100, -100, 'C', 'D', 2}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDropped(t *testing.T) {
	samples := []data.Sample{
		answered(0, "a", "b"),
		{ID: data.ID{Dataset: "d", Row: 1}, Broken: "null value: column 'x' is null"},
		{ID: data.ID{Dataset: "d", Row: 2}, Prompt: []data.Message{{Content: "a"}}},
		answered(3, "a", "b", "c"),
		{ID: data.ID{Dataset: "d", Row: 4}, Broken: "null value: message 0's 'y' is null"},
		answered(5, "c", "d"),
	}
	e := encoder{Options: Options{CutoffLen: 9}}
	got, dropped, err := e.run(samples, letters)
	if err != nil || len(got) != 2 || got[0].Row != 0 || got[1].Row != 5 || len(dropped) != 4 {
		t.Fatal(got, dropped, err)
	}
	want := []string{
		"dataset d: dropped 2 rows: null value: column 'x' is null (rows 1, 4)",
		"dataset d: dropped 1 row: no answer: the answer's column is null, no string, or not mapped (row 2)",
		"dataset d: dropped 1 row: the prompt does not end with a question (row 3)",
	}
	if w := Warnings(dropped); !reflect.DeepEqual(w, want) {
		t.Errorf("warnings %q", w)
	}
	_, dropped, err = e.run(samples[1:5], letters)
	if err == nil || len(dropped) != 4 {
		t.Fatal("four bad rows are no error")
	}
	for _, w := range []string{
		"Cannot find valid samples: not one of 4 rows can be used", "2 rows, null value: first dataset d, row 1: null value: column 'x' is null",
		"1 row, no answer: first dataset d, row 2", "formatting, columns and tags in dataset_info.json",
	} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q lacks %q", err, w)
		}
	}
	many := make([]Dropped, 11)
	for i := range many {
		many[i] = Dropped{ID: data.ID{Dataset: "d", Row: i}, Kind: "k"}
	}
	if w := Warnings(many); w[0] != "dataset d: dropped 11 rows: k (rows 0, 1, 2, 3, 4, 5, 6, 7 and 3 more)" {
		t.Errorf("%q", w)
	}
}

func TestFaults(t *testing.T) {
	yes := true
	samples := []data.Sample{answered(0, "a", "b"), answered(1, "bad", "b")}
	for want, e := range map[string]encoder{
		"dataset d, row 1: Invalid JSON format in tool description": {Options: Options{CutoffLen: 9}},
		"cutoff_len is 0; it must be at least 1":                    {},
		"cutoff_len is 1; it must be at least 1, and at least 2":    {Options: Options{CutoffLen: 1, Packing: &yes}},
		"incompatible with `mask_history`":                          {Options: Options{CutoffLen: 9, TrainOnPrompt: true, MaskHistory: true}},
		"Current template does not support `train_on_prompt`":       {Options: Options{CutoffLen: 9, TrainOnPrompt: true}, efficientEOS: true},
	} {
		if _, _, err := e.run(samples, letters); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Every row that is packed is a member of one block.
func TestPackedMembers(t *testing.T) {
	var samples []data.Sample
	for i := range 1000 {
		samples = append(samples, answered(i, strings.Repeat("q", i%7), strings.Repeat("a", i%5)))
	}
	e := encoder{Options: Options{CutoffLen: 16, NeatPacking: true, Workers: 3, BatchSize: 100}}
	got, _, err := e.run(samples, letters)
	if err != nil {
		t.Fatal(err)
	}
	members := 0
	for _, x := range got {
		members += len(x.Members)
	}
	if members != len(samples) {
		t.Errorf("%d of %d rows are packed", members, len(samples))
	}
}

func TestCollate(t *testing.T) {
	rows := []data.Example{{InputIDs: make([]int32, 9)}, {InputIDs: make([]int32, 3)}}
	if a, b := PaddedLength(rows, PaddingMultiple), PaddedLength(rows, 1); a != 16 || b != 9 {
		t.Errorf("padded to %d and %d, want 16 and 9", a, b)
	}
	if fmt.Sprint(PaddedLength(rows[:1], 8), PaddedLength(nil, 8)) != "16 0" {
		t.Error("padding of one row and of none")
	}
}

// run encodes with pairs instead of a template.
func (e encoder) run(samples []data.Sample, pairs func(*data.Sample) ([]template.Pair, error)) ([]data.Example, []Dropped, error) {
	if err := e.check(); err != nil {
		return nil, nil, err
	}
	e.pairs = pairs
	return run(&e, samples)
}
