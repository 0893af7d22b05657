package template

import (
	"os"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data"
)

func TestFromChatTemplate(t *testing.T) {
	tok := load(t, "llama3")
	tmpl, err := FromChatTemplate(tok)
	if err != nil || tmpl.Name() != "empty" {
		t.Errorf("no chat template: %v, %v", tmpl, err)
	}
	tok.SetChatTemplate("{{ '<|im_start|>' }}")
	if _, err := FromChatTemplate(tok); err == nil || !strings.Contains(err.Error(), "qwen or chatml") {
		t.Errorf("unknown chat template: %v", err)
	}
}

// The known chat templates lie beside the checkout. Rendering them with Jinja
// (npm @huggingface/jinja) gave the first prompt and answer of each.
func TestSharedFromChatTemplate(t *testing.T) {
	const headers = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
	for file, want := range map[string]string{
		"Qwen-Qwen2.5-7B-Instruct": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n" +
			"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
		"Qwen-Qwen3-0.6B": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
		"meta-llama-Llama-3.1-8B-Instruct": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n" +
			"Today Date: 26 Jul 2024\n\n<|eot_id|>" + headers,
	} {
		text, err := os.ReadFile(shared + "templates/" + file + ".jinja")
		if err != nil {
			t.Skip("no shared data: ", err)
		}
		tok := load(t, "llama3")
		tok.SetChatTemplate(string(text))
		tmpl, err := FromChatTemplate(tok)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		turns, err := tmpl.Render([]data.Message{{Role: data.User, Content: "Hi"}, {Role: data.Assistant, Content: "<think>x</think>Ho"}}, "", "")
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, e := range turns[0].Source {
			got.WriteString(e.Text)
		}
		if got.String() != want {
			t.Errorf("%s:\n got %q\nwant %q", file, got.String(), want)
		}
	}
}
