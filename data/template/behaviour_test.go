package template

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/tokenizer"
)

// get returns a template under options; nil = as Get gives it.
func get(t *testing.T, name string, o *Options) *Template {
	t.Helper()
	tmpl, err := Get(name)
	if err == nil && o != nil {
		tmpl, err = tmpl.With(*o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func load(t *testing.T, name string) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(filepath.Join("..", "tokenizer", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestGetUnknown(t *testing.T) {
	for name, want := range map[string]string{
		"lama3":  `"lama3" does not exist; did you mean llama3`,
		"qwen2":  `qwen`,
		"nonono": `does not exist`,
	} {
		if _, err := Get(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Get(%q): %v, want %s", name, err, want)
		}
	}
	if n := len(Names()); n != 124+19 {
		t.Errorf("%d templates, want LLaMA-Factory 0.9.4's 124 and 19 that were added later", n)
	}
}

func TestOptions(t *testing.T) {
	system := "Be brief."
	tmpl := get(t, "qwen", &Options{DefaultSystem: &system, ToolFormat: "glm4"})
	turns, err := tmpl.Render([]data.Message{
		{Role: data.User, Content: "Hi"}, {Role: data.Function, Content: `{"name": "f", "arguments": {"x": 1.50}}`},
	}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	// Overriding the tool format also replaces the template's function slots.
	want := []Turn{{
		Source: []Element{
			{Text: "<|im_start|>system\nBe brief.<|im_end|>\n"},
			{Text: "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
		},
		Target: []Element{{Text: "f\n{\"x\": 1.5}"}, {Special: "eos"}},
	}}
	if diff := cmp.Diff(want, turns); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if _, err := tmpl.With(Options{ToolFormat: "yaml"}); err == nil || !strings.Contains(err.Error(), "default, gemma4, glm4, glm4_moe, lfm2, ling, llama3") {
		t.Errorf("unknown tool format: %v", err)
	}
	if get(t, "qwen", nil).DefaultSystem() == system {
		t.Error("With changed the table")
	}
}

func TestRenderQuirks(t *testing.T) {
	for _, c := range []struct{ template, user, want string }{
		// The content's own placeholders: {{content}} stays, {{idx}} is filled in.
		{"empty", "a {{content}} b {{idx}} c {{idx}}", "a {{content}} b 0 c {{idx}}"},
		{"chatglm2", "x", "[Round 0]\n\n问：x\n\n答："},
		{"llama2", "a {{idx}}", "[INST] a {{idx}} [/INST]"},
	} {
		turns, err := get(t, c.template, nil).Render([]data.Message{{Role: data.User, Content: c.user}, {Role: data.Assistant}}, "", "")
		if err != nil {
			t.Fatal(err)
		}
		source := turns[0].Source
		if got := source[len(source)-1].Text; got != c.want {
			t.Errorf("%s: %q, want %q", c.template, got, c.want)
		}
	}
	// An empty list of tools still adds a system block.
	turns, err := get(t, "chatml", nil).Render([]data.Message{{Role: data.User, Content: "a"}, {Role: data.Assistant}}, "", "[]")
	if err != nil || turns[0].Source[0].Text != "<|im_start|>system\n<|im_end|>\n" {
		t.Errorf("%q, %v", turns, err)
	}
	if _, err := get(t, "paligemma", nil).Render([]data.Message{{Role: data.User}, {Role: data.Assistant}}, "", "[]"); err != nil {
		t.Error(err)
	}
}

func TestFunctionMessages(t *testing.T) {
	call := `{"name": "f", "arguments": {"b": "ü\n", "a": [1, 2.0, 1e20, null, true]}}`
	text := `{"name": "f", "arguments": {"b": "ü\n", "a": [1, 2.0, 1e+20, null, true]}}` // as json.dumps has it
	for in, want := range map[string]string{
		call:                               "<tool_call>\n" + text + "\n</tool_call>",
		"[" + call + "," + call + "]":      "<tool_call>\n" + text + "\n</tool_call>\n<tool_call>\n" + text + "\n</tool_call>",
		"<think>\nhm\n</think>\n\n" + call: "<think>\nhm\n</think>\n\n<tool_call>\n" + text + "\n</tool_call>",
		"first <tool_call>" + call + "</tool_call>": "first <tool_call>\n" + text + "\n</tool_call>",
	} {
		if got, err := get(t, "qwen", nil).functionText(in); err != nil || got != want {
			t.Errorf("%q:\n got %q, %v\nwant %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"no JSON":                "invalid JSON in a function message",
		call + " and more":       "invalid JSON in a function message",
		`{"name": "f"}`:          `wants {"name", "arguments"}`,
		`[{"arguments": {}}, 1]`: `wants {"name", "arguments"}`,
	} {
		_, err := get(t, "qwen", nil).Render([]data.Message{{Role: data.User}, {Role: data.Function, Content: in}}, "", "")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "message 1") {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	// Llama 2 and its relatives accept bare JSON only.
	if _, err := get(t, "mistral", nil).functionText("<think>\nhm\n</think>\n\n" + call); err == nil {
		t.Error("mistral took a thought")
	}
}

func TestToolErrors(t *testing.T) {
	for in, want := range map[string]string{
		"{":                   "invalid JSON",
		`{"name": "f"}`:       "want a JSON list",
		`[{"parameters": 1}]`: "no name",
		`[{"name": "f"}]`:     `tool "f": no parameters.properties`,
	} {
		_, err := get(t, "default", nil).Render([]data.Message{{Role: data.User}, {Role: data.Assistant}}, "", in)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "template default: tools") {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// Whatever JSON tools and calls are, every format writes them or says what it cannot read.
func TestHostileTools(t *testing.T) {
	var tools, calls []string
	for _, v := range []string{
		`null`, `0`, `-0.0`, `1e400`, `""`, `"x"`, `[]`, `{}`, `[1]`, `true`, `12345678901234567890123`, `NaN`, `"\ud800"`,
		`{"type": "object", "properties": {"a": {"type": ["string", null], "enum": [1, null], "items": {"type": 3}}}, "required": "a"}`,
		`{"properties": [1], "required": [null, {}]}`, `{"properties": {"a": 3}}`, strings.Repeat("[", 500) + strings.Repeat("]", 500),
	} {
		tools = append(tools, v, "["+v+"]", `[{"name": `+v+`}]`, `[{"type": "function", "function": `+v+`}]`, `[{"type": `+v+`, "function": {"name": "f"}}]`,
			`[{"name": "f", "description": `+v+`, "response": `+v+`, "parameters": `+v+`}]`, `[{"name": "f", "parameters": {"properties": {"a": `+v+`}, "required": `+v+`, "type": `+v+`}}]`)
		calls = append(calls, v, "["+v+"]", `{"name": `+v+`, "arguments": `+v+`}`, `{"name": "f", "arguments": `+v+`}`, `{"name": "f", "arguments": {"a": `+v+`}}`, "<tool_call>"+v+"</tool_call>")
	}
	for _, format := range toolFormatNames() {
		tmpl, err := get(t, "qwen3", nil).With(Options{ToolFormat: format})
		if err != nil {
			t.Fatal(err)
		}
		messages := []data.Message{{Role: data.User}, {Role: data.Function, Content: `{"name": "f", "arguments": {}}`}}
		for _, x := range tools {
			if _, err := tmpl.Render(messages, "", x); err != nil && !strings.Contains(err.Error(), "template qwen3: tools: ") {
				t.Errorf("%s, tools %s: %v", format, x, err)
			}
		}
		for _, x := range calls {
			messages[1].Content = x
			if _, err := tmpl.RenderOne(messages, "", ""); err != nil && !strings.Contains(err.Error(), "template qwen3: message 1: ") {
				t.Errorf("%s, call %s: %v", format, x, err)
			}
		}
	}
}

func TestEncode(t *testing.T) {
	tok := load(t, "llama3")
	tok.SetEOS("<|end|>")
	sample := &data.Sample{
		Prompt: []data.Message{
			{Role: data.User, Content: "the cat"}, {Role: data.Assistant, Content: "ran"}, {Role: data.User, Content: "away"},
		},
		Response: []data.Message{{Role: data.Assistant, Content: "from the dog"}},
	}
	pairs, err := get(t, "default", nil).Encode(tok, sample)
	if err != nil {
		t.Fatal(err)
	}
	_, end, _ := tok.EOS()
	each := func(parts ...string) (ids []int32) {
		for _, p := range parts {
			if p == "eos" {
				ids = append(ids, end)
			} else {
				ids = append(ids, tok.Encode(p)...) // each slot separately
			}
		}
		return ids
	}
	want := []Pair{
		{each("Human: the cat", "eos", "\nAssistant:"), each("ran", "eos", "\n")},
		{each("Human: away", "eos", "\nAssistant:"), each("from the dog", "eos", "\n")},
	}
	if diff := cmp.Diff(want, pairs); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if _, err := get(t, "baichuan", nil).Encode(tok, sample); err == nil || !strings.Contains(err.Error(), `no token "<reserved_102>"`) {
		t.Errorf("a token the vocabulary lacks: %v", err)
	}
	sample.Response = nil
	if _, err := get(t, "default", nil).Encode(tok, sample); err == nil || !strings.Contains(err.Error(), "3 messages") {
		t.Errorf("a sample without a response: %v", err)
	}
}

func TestFixTokenizer(t *testing.T) {
	tok := load(t, "llama3")
	size := tok.Len()
	if n := get(t, "llama3", nil).FixTokenizer(tok); n != 2 {
		t.Errorf("llama3 added %d tokens, want <|eot_id|> and <|eom_id|>", n)
	}
	end, id, _ := tok.EOS()
	if pad, _, _ := tok.Pad(); end != "<|eot_id|>" || int(id) != size || pad != end {
		t.Errorf("eos %q %d, pad %q", end, id, pad)
	}
	if id, ok := tok.ID("<|eom_id|>"); !ok || !tok.IsSpecial(id) {
		t.Errorf("<|eom_id|> is %d, %v", id, ok)
	}
	if !strings.HasPrefix(tok.ChatTemplate(), "{% if messages[0]['role'] == 'system' %}") { // there is no bos
		t.Errorf("chat template %q", tok.ChatTemplate())
	}
	// An existing chat template is kept, except by templates with their own.
	tok.SetChatTemplate("theirs")
	if n := get(t, "qwen3", nil).FixTokenizer(tok); n != 1 || tok.ChatTemplate() != "theirs" {
		t.Errorf("qwen3 added %d, chat template %q", n, tok.ChatTemplate())
	}
	if get(t, "vicuna", nil).FixTokenizer(tok); !strings.Contains(tok.ChatTemplate(), "USER: ") {
		t.Errorf("chat template %q", tok.ChatTemplate())
	}
	bare := load(t, "gpt2")
	if n := get(t, "alpaca", nil).FixTokenizer(bare); n != 1 {
		t.Errorf("a tokenizer without eos got %d tokens", n)
	}
	if end, _, _ := bare.EOS(); end != "<|endoftext|>" {
		t.Errorf("eos %q", end)
	}
}

func TestStopWordsAreCopies(t *testing.T) {
	words := get(t, "llama3", nil).StopWords()
	words[0] = "changed"
	if !slices.Equal(get(t, "llama3", nil).StopWords(), []string{"<|eot_id|>", "<|eom_id|>"}) {
		t.Error("StopWords gives the table away")
	}
}

// A run's changes to a template are part of its identity, by which cached data is keyed.
func TestIdentity(t *testing.T) {
	base, err := Get("qwen3")
	if err != nil {
		t.Fatal(err)
	}
	yes, no, system := true, false, "Be brief."
	seen := map[string]int{}
	for i, o := range []Options{
		{EnableThinking: &yes},
		{EnableThinking: &no},
		{},
		{EnableThinking: &yes, DefaultSystem: &system},
		{EnableThinking: &yes, ToolFormat: "llama3"},
		{EnableThinking: &yes, PreserveThinking: &yes},
		{EnableThinking: &yes, PreserveThinking: &no},
	} {
		c, err := base.With(o)
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := seen[c.Identity()]; ok {
			t.Errorf("options %d and %d share an identity", j, i)
		}
		seen[c.Identity()] = i
	}
	on := true
	if again, err := base.With(Options{EnableThinking: &on}); err != nil || seen[again.Identity()] != 0 {
		t.Errorf("%v: equal options, another identity", err)
	}
}

// The layout is that of LLaMA-Factory 0.9.4's get_ollama_modelfile; its stop ids come in the
// order of a Python set, here the EOS is first.
func TestModelfile(t *testing.T) {
	tmpl, err := Get("qwen")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tmpl.Modelfile(markedTokenizer{}, ".")
	want := `# ollama modelfile auto-generated by llamafactory

FROM .

TEMPLATE """{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ range .Messages }}{{ if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
<|im_start|>assistant
{{ else if eq .Role "assistant" }}{{ .Content }}<|im_end|>
{{ end }}{{ end }}"""

SYSTEM """You are Qwen, created by Alibaba Cloud. You are a helpful assistant."""

PARAMETER stop "⟦eos⟧"
PARAMETER stop "<|im_end|>"
PARAMETER num_ctx 4096
`
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	if tmpl, err = Get("chatglm3"); err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.Modelfile(markedTokenizer{}, "."); err == nil || !strings.Contains(err.Error(), "cannot be written in an Ollama template") {
		t.Errorf("chatglm3: %v", err)
	}
}

// The names are those of LLaMA-Factory's list of models; every template of ours that it names exists.
func TestForModel(t *testing.T) {
	for model, want := range map[string]string{
		"Qwen/Qwen3.5-0.8B-Base": "qwen3_5", "google/gemma-4-31B-it": "gemma4", "google/gemma-4-E2B-it": "gemma4n",
		"zai-org/GLM-4.7-Flash": "glm4_7", "/models/LFM2.5-1.2B-Instruct/": "lfm2", "LiquidAI/LFM2.5-VL-1.6B": "lfm2_vl",
		`C:\models\Phi-4-mini-instruct`: "phi4_mini", "tencent/HY-MT1.5-1.8B": "hunyuan_small", "tencent/HY-MT1.5-7B": "",
		"tencent/Hunyuan-0.5B-Instruct": "", "Qwen/Qwen3-0.6B": "", "": "",
	} {
		if got := ForModel(model); got != want {
			t.Errorf("%q: %q, want %q", model, got, want)
		}
	}
	for _, m := range modelTemplates {
		get(t, m.template, nil)
	}
}
