package tokenizer

import (
	"os"
	"strings"
	"testing"
)

// Every unknown construct is an error that names file, path and value.
func TestParseErrors(t *testing.T) {
	base := func(name string) string {
		data, err := os.ReadFile("testdata/" + name + "/tokenizer.json")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	bytes, marked := base("llama3"), base("llama2")
	swap := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("no %s in the file", old)
		}
		return strings.Replace(s, old, new, 1)
	}
	for what, c := range map[string]struct{ model, want string }{
		"no JSON":        {"tokenizer", "tokenizer.json: not a JSON object"},
		"cut short":      {bytes[:len(bytes)/2], "tokenizer.json"},
		"no model":       {`{"version":"1.0"}`, "model: missing"},
		"unknown key":    {`{"model":{},"surprise":1}`, "surprise"},
		"wordpiece":      {swap(bytes, `"type":"BPE"`, `"type":"WordPiece"`), `model.type: "WordPiece" is not supported`},
		"dropout":        {swap(bytes, `"dropout":null`, `"dropout":0.1`), "model.dropout: 0.1"},
		"model key":      {swap(bytes, `"dropout":null`, `"drop":null`), `model: json: unknown field "drop"`},
		"prefix":         {swap(bytes, `"continuing_subword_prefix":null`, `"continuing_subword_prefix":"##"`), `model.continuing_subword_prefix: "##"`},
		"suffix":         {swap(bytes, `"end_of_word_suffix":null`, `"end_of_word_suffix":"</w>"`), `model.end_of_word_suffix: `},
		"unknown token":  {swap(marked, `"unk_token":"<unk>"`, `"unk_token":"<no>"`), `model.unk_token: "<no>" is not in model.vocab`},
		"pattern":        {swap(bytes, `\\p{N}{1,3}`, `(\\p{N})\\1`), `pre_tokenizer.pretokenizers[0]: regular expression`},
		"behavior":       {swap(bytes, `"behavior":"Isolated"`, `"behavior":"Kept"`), `pretokenizers[0].behavior: "Kept"`},
		"pre-tokenizer":  {swap(bytes, `"type":"ByteLevel"`, `"type":"UnicodeScripts"`), `pre_tokenizer.pretokenizers[1].type: "UnicodeScripts"`},
		"normalizer":     {swap(marked, `"type":"Prepend"`, `"type":"Nmt"`), `normalizer.normalizers[0].type: "Nmt"`},
		"replace regex":  {swap(marked, `{"String":" "}`, `{"Regex":"(\\s"}`), `normalizer.normalizers[1].pattern: regular expression`},
		"decoder":        {swap(marked, `"type":"Fuse"`, `"type":"CTC"`), `decoder.decoders[2].type: "CTC"`},
		"post-processor": {swap(bytes, `"type":"TemplateProcessing"`, `"type":"XLNetProcessing"`), `post_processor.processors[1].type: "XLNetProcessing"`},
		"merge":          {swap(bytes, `"merges":[[`, `"merges":[["q","zz"],[`), `model.merges[0]: "q" + "zz"`},
		"merge parts":    {swap(marked, `"merges":[`, `"merges":["a b c",`), `model.merges[0]: ["a" "b" "c"] has 3 parts`},
		"merges":         {swap(marked, `"merges":[`, `"merges":[7,`), `model.merges`},
		"shared id":      {swap(marked, `"<s>":1`, `"<s>":0`), `model.vocab: "<s>" and "<unk>" share the id 0`},
		"huge id":        {swap(marked, `"<s>":1`, `"<s>":2000000000`), `model.vocab: id 2000000000 of "<s>" is out of range`},
		"added content":  {swap(marked, `"content":"<s>"`, `"content":""`), `added_tokens[1].content: empty`},
		"strip":          {swap(marked, `"type":"Strip",`, `"type":"Strip","width":1,`), `decoder.decoders[3].width`},
		"metaspace":      {swap(base("mistral"), `"prepend_scheme":"first"`, `"prepend_scheme":"last"`), `pre_tokenizer.prepend_scheme: "last"`},
		"wrong type":     {swap(base("mistral"), `"prepend_scheme":"first"`, `"prepend_scheme":1`), `pre_tokenizer.prepend_scheme: want string, got 1`},
	} {

		_, err := files{dir: "some/model", model: []byte(c.model)}.parse()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "some/model/tokenizer.json") {
			t.Errorf("%s: error %v, want one with %s", what, err, c.want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	model, err := os.ReadFile("testdata/qwen2/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]string{
		`[]`:                                 "not a JSON object",
		`{"eos_token": 5}`:                   `eos_token: want a string or an object, got 5`,
		`{"eos_token": {"lstrip": 1}}`:       `eos_token: want an added token`,
		`{"additional_special_tokens": "x"}`: `additional_special_tokens: `,
		`{"model_max_length": "long"}`:       `model_max_length: want a number, got "long"`,
		`{"added_tokens_decoder": {"900": {"content": ""}}}`: `added_tokens_decoder.900.content: empty`,
	} {
		_, err := files{dir: "some/model", model: model, config: []byte(config)}.parse()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "some/model/tokenizer_config.json") {
			t.Errorf("%s: error %v, want one with %s", config, err, want)
		}
	}
	if _, err := Load("no/such/folder"); err == nil || !strings.Contains(err.Error(), "no/such/folder has no tokenizer") {
		t.Errorf("error of a missing folder: %v", err)
	}
}
