package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/predict"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/generate"
	"dataflex.dev/dataflex/tools/command"
)

var demoKeys = []string{"model_name_or_path=" + demoModel, "template=default", "max_new_tokens=12", "do_sample=false", "dataset_dir=../../data"}

// answers are the lines that generate writes.
func answers(t *testing.T, o generateOptions, keys ...string) (out []predict.Answer) {
	t.Helper()
	var b bytes.Buffer
	o.out, o.device = &b, "cpu"
	if err := generateText(context.Background(), "", append(demoKeys, keys...), o); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		var a predict.Answer // its fields are the keys but for the case
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// TestGenerate: the three sources of prompts, in order of precedence, and the output for each.
func TestGenerate(t *testing.T) {
	const prompt = "Human: %<|endoftext|>\nAssistant:"
	typed := answers(t, generateOptions{prompts: []string{"What is 2 plus 3?", "Name a colour"}})
	piped := answers(t, generateOptions{stdin: true, in: strings.NewReader("What is 2 plus 3?\r\n \nName a colour")})
	for i, question := range []string{"What is 2 plus 3?", "Name a colour"} {
		if typed[i] != piped[i] || typed[i].Prompt != strings.Replace(prompt, "%", question, 1) || typed[i].Label != "" || typed[i].Predict == "" {
			t.Errorf("%q, %q", typed[i], piped[i])
		}
	}
	if len(typed) != 2 || len(piped) != 2 {
		t.Error(len(typed), len(piped))
	}
	file := filepath.Join(t.TempDir(), "answers.jsonl")
	if out := answers(t, generateOptions{output: file}, "eval_dataset=everyday_eval", "max_samples=3"); out != nil {
		t.Errorf("with --output: %q", out)
	}
	raw, err := os.ReadFile(file)
	if err != nil || strings.Count(string(raw), "\n") != 3 || !strings.HasPrefix(string(raw), `{"prompt": "Human: How many cups`) || !strings.Contains(string(raw), `"label": "There are two cups in a pint.\n"}`) {
		t.Errorf("%s, %v", raw, err)
	}
	// A text that ends an answer is not part of it.
	whole := typed[0].Predict
	cut := answers(t, generateOptions{prompts: []string{"What is 2 plus 3?"}, speakOptions: speakOptions{stop: []string{whole[3:5]}}})
	if want, _, _ := strings.Cut(whole, whole[3:5]); cut[0].Predict != want {
		t.Errorf("%q up to %q: %q", whole, whole[3:5], cut[0].Predict)
	}
}

// TestGenerateQuantised: a quantised model generates with its one adapter unmerged, and refuses
// a second one.
func TestGenerateQuantised(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	m, err := decoder.Load(dev, demoModel, decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.AddLoRA(decoder.LoRA{Rank: 2, Alpha: 64, Targets: []string{"all"}}, func() float64 { return 0.9 }); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Trainable() {
		if err := p.Write(dev, func(x []float32) error {
			for i := range x {
				x[i] = float32(i%7-3) / 30
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := m.SaveAdapter(dir); err != nil {
		t.Fatal(err)
	}
	prompts := generateOptions{prompts: []string{"What is 2 plus 3?"}}
	base, adapted := answers(t, prompts, "quantization_bit=8"), answers(t, prompts, "quantization_bit=8", "adapter_name_or_path="+dir)
	if base[0] == adapted[0] || adapted[0] != answers(t, prompts, "adapter_name_or_path="+dir)[0] {
		t.Errorf("the base answers %q, with the adapter %q", base[0].Predict, adapted[0].Predict)
	}
	err = generateText(t.Context(), "", append(slices.Clone(demoKeys), "quantization_bit=8", "adapter_name_or_path="+dir+","+dir), prompts)
	if err == nil || !strings.Contains(err.Error(), "a quantised model takes one adapter") {
		t.Error(err)
	}
}

// TestGenerateTerminal: a single answer is written as it is generated, and is the same.
func TestGenerateTerminal(t *testing.T) {
	var shown bytes.Buffer
	o := generateOptions{prompts: []string{"Name a colour"}, terminal: true, out: &shown}
	o.device = "cpu"
	if err := generateText(context.Background(), "", demoKeys, o); err != nil {
		t.Fatal(err)
	}
	if want := answers(t, generateOptions{prompts: o.prompts})[0].Predict + "\n"; shown.String() != want {
		t.Errorf("%q, want %q", shown.String(), want)
	}
}

func TestStream(t *testing.T) {
	var b bytes.Buffer
	s := stream{w: &b, stop: []string{"END"}}
	for _, step := range [][2]string{{"a\ufffd", "a"}, {"aé ", "aé "}, {"aé E", "aé "}, {"aé Ex", "aé Ex"}, {"aé ExEN", "aé Ex"}} {
		if s.grow(step[0]); b.String() != step[1] {
			t.Errorf("of %q %q is written", step[0], b.String())
		}
	}
	if err := s.finish("aé Ex"); err != nil || b.String() != "aé Ex\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestChatTemplate: --chat-template renders the tokenizer's own template, with the system
// prompt, and the answer is the model's for those ids.
func TestChatTemplate(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(demoModel)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tokenizer_config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	fields["chat_template"] = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
	if raw, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	o := generateOptions{prompts: []string{"hi"}, speakOptions: speakOptions{chatTemplate: true, system: "Be brief."}}
	got := answers(t, o, "model_name_or_path="+dir)
	const laidOut = "[system] Be brief.\n[user] hi\n[assistant]"
	c, err := config.LoadGenerate("", demoKeys)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Prompt != tok.Decode(tok.Encode(laidOut), false) {
		t.Errorf("prompt %q", got[0].Prompt)
	}
	dev := cpu.New(1)
	defer dev.Close()
	m, err := decoder.Load(dev, demoModel, decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ids, err := generate.Generate(context.Background(), m, [][]int32{tok.Encode(laidOut)}, predict.Options(c, predict.Stop(tok, nil)))
	if err != nil || got[0].Predict != tok.Decode(ids[0], true) {
		t.Errorf("answer %q, the model's %q, %v", got[0].Predict, ids, err)
	}
}

func TestGenerateRefusals(t *testing.T) {
	for _, c := range []struct {
		o    generateOptions
		keys []string
		want string
	}{
		{generateOptions{}, nil, "there is nothing to answer: give --prompt TEXT or --stdin, or set eval_dataset"},
		{generateOptions{prompts: []string{"a"}, stdin: true}, nil, "--prompt and --stdin both give prompts"},
		{generateOptions{stdin: true, in: strings.NewReader("\n")}, nil, "standard input has no prompt"},
		{generateOptions{speakOptions: speakOptions{system: "s"}}, []string{"dataset=everyday"}, "--system and --tools only apply to --prompt and --stdin"},
		{generateOptions{prompts: []string{"a"}, speakOptions: speakOptions{chatTemplate: true}}, nil, "--chat-template: the tokenizer of " + demoModel + " has none"},
		{generateOptions{prompts: []string{"a"}}, []string{"temperature=-1"}, "temperature: it must not be negative, got -1"},
	} {
		c.o.device = "cpu"
		err := generateText(context.Background(), "", append(demoKeys, c.keys...), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestChat: an answer depends on the earlier turns, until /clear; /exit ends.
func TestChat(t *testing.T) {
	var b bytes.Buffer
	talk := conversation{in: strings.NewReader("hi there\nhi there\n\n/clear\nhi there\n/exit\nhi there\n"), out: &b, model: "\x01"}
	if err := chat(context.Background(), "", demoKeys, speakOptions{device: "cpu"}, talk); err != nil {
		t.Fatal(err)
	}
	said := strings.Split(b.String(), "\x01")[1:]
	alone := answers(t, generateOptions{prompts: []string{"hi there"}})[0].Predict + "\n"
	if len(said) != 3 || said[0] != alone || said[2] != alone || said[1] == alone {
		t.Errorf("%q, alone %q", said, alone)
	}
}

// TestChatInterrupted: Ctrl-C while waiting for a line, or within an answer, ends the program.
func TestChatInterrupted(t *testing.T) {
	for _, line := range []string{"", "hi there\n"} {
		ctx, cancel := context.WithCancelCause(context.Background())
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString(line); err != nil {
			t.Fatal(err)
		}
		out := writer(func(b []byte) (int, error) { cancel(errors.New("interrupt")); return len(b), nil })
		talk := conversation{in: untilDone(ctx, r), out: out, you: map[string]string{"": "You: "}[line], model: "Model: "}
		err = chat(ctx, "", append(demoKeys, "max_new_tokens=2000"), speakOptions{device: "cpu"}, talk)
		if !errors.Is(err, context.Canceled) || command.Exit(err, &bytes.Buffer{}) != command.ExitInterrupted {
			t.Errorf("%q: %v", line, err)
		}
		_, _ = w.Close(), r.Close()
	}
}

// TestGenerateUnread: an error in writing the output ends generation.
func TestGenerateUnread(t *testing.T) {
	full := errors.New("no space left")
	o := generateOptions{prompts: []string{"a", "b", "c"}, out: writer(func([]byte) (int, error) { return 0, full })}
	o.device = "cpu"
	if err := generateText(context.Background(), "", demoKeys, o); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
