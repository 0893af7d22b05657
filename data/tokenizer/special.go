package tokenizer

import (
	"cmp"
	"encoding/json"
	"strings"
)

// BOS returns the spelling and id of the beginning-of-sequence token; ok is false where the
// tokenizer has none.
func (t *Tokenizer) BOS() (token string, id int32, ok bool) { return t.special("bos_token") }

// EOS is like BOS.
func (t *Tokenizer) EOS() (token string, id int32, ok bool) { return t.special("eos_token") }

// Pad is like BOS.
func (t *Tokenizer) Pad() (token string, id int32, ok bool) { return t.special("pad_token") }

// Unknown is like BOS.
func (t *Tokenizer) Unknown() (token string, id int32, ok bool) { return t.special("unk_token") }

func (t *Tokenizer) special(name string) (string, int32, bool) {
	s, ok := t.config.special[name]
	if !ok {
		return "", 0, false
	}
	id, ok := t.ID(s.content)
	return s.content, id, ok
}

// SpecialTokens are the special tokens by the names that chat templates use: bos_token and so
// on, and additional_special_tokens, a list.
func (t *Tokenizer) SpecialTokens() map[string]any {
	out := map[string]any{}
	for name, s := range t.config.special {
		out[name] = s.content
	}
	for _, n := range t.config.named {
		out[n.name] = n.content
	}
	if len(t.config.additional) > 0 {
		var list []any
		for _, s := range t.config.additional {
			list = append(list, s.content)
		}
		out["additional_special_tokens"] = list
	}
	return out
}

// AddBOS reports whether LLaMA-Factory puts a BOS in front of every document: whether the
// tokenizer's class knows add_bos_token, and its value. Classes that do not know the key
// (PreTrainedTokenizerFast, Qwen2Tokenizer ...) ignore it.
func (t *Tokenizer) AddBOS() bool {
	switch t.class() {
	case "LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer":
		return t.config.bool("add_bos_token", true)
	case "GPT2Tokenizer", "GPTNeoXTokenizer", "CodeGenTokenizer":
		return t.config.bool("add_bos_token", false)
	}
	return false
}

// classTemplate replaces what tokenizer.json puts around a text by what the tokenizer's class
// does, for those that take add_bos_token and add_eos_token over it (transformers 4.52,
// update_post_processor).
func (t *Tokenizer) classTemplate() {
	switch t.class() {
	case "LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer", "GPTNeoXTokenizer":
	default:
		return
	}
	t.template = nil
	if _, id, ok := t.BOS(); ok && t.AddBOS() {
		t.template = append(t.template, postItem{ids: []int32{id}})
	}
	t.template = append(t.template, postItem{text: true})
	if _, id, ok := t.EOS(); ok && t.config.bool("add_eos_token", false) {
		t.template = append(t.template, postItem{ids: []int32{id}})
	}
}

// class is the tokenizer_class under the name of its slow version, or where the files name
// none, the class that AutoTokenizer chooses for the type of the model.
func (t *Tokenizer) class() string {
	return cmp.Or(strings.TrimSuffix(t.config.string("tokenizer_class"), "Fast"), t.config.byModel)
}

// classOf is AutoTokenizer's class for a model's config.json.
func classOf(base []byte) string {
	var c struct {
		ModelType string `json:"model_type"`
	}
	if json.Unmarshal(base, &c) != nil { // a broken config.json is reported when the model is loaded
		return ""
	}
	switch c.ModelType {
	case "llama", "mistral", "mistral3", "mixtral", "phi3", "ministral3", "llama4_text":
		return "LlamaTokenizer"
	case "gemma", "gemma2", "gemma3", "gemma3_text":
		return "GemmaTokenizer"
	case "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl":
		return "Qwen2Tokenizer"
	case "gpt2", "gpt_bigcode", "starcoder2":
		return "GPT2Tokenizer"
	case "gpt_neox", "olmo", "olmoe", "stablelm":
		return "GPTNeoXTokenizer"
	case "cohere", "cohere2":
		return "CohereTokenizer"
	}
	return ""
}

// defaults are the special tokens of a class where the files name none.
var defaults = map[string]map[string]string{
	"LlamaTokenizer":     {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
	"CodeLlamaTokenizer": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
	"GemmaTokenizer":     {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"},
	"GPT2Tokenizer":      {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
	"GPTNeoXTokenizer":   {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
	"Qwen2Tokenizer":     {"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
	"CohereTokenizer":    {"bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>", "unk_token": "<UNK>"},
	"BloomTokenizer":     {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
}

// classDefaults fills in the special tokens that no file mentions; a null counts as a mention.
// Those that the vocabulary lacks are added to it later, as transformers does.
func (t *Tokenizer) classDefaults() {
	for name, token := range defaults[t.class()] {
		if _, mentioned := t.config.fields[name]; !mentioned {
			t.config.special[name] = specialToken{token, true}
		}
	}
}

// SetEOS makes token the end-of-sequence token and returns by how many tokens the vocabulary
// grew (0 or 1).
func (t *Tokenizer) SetEOS(token string) (added int) { return t.setSpecial("eos_token", token, true) }

// SetPad makes token the padding token and returns by how many tokens the vocabulary grew.
func (t *Tokenizer) SetPad(token string) (added int) { return t.setSpecial("pad_token", token, false) }

func (t *Tokenizer) setSpecial(name, token string, object bool) int {
	t.config.special[name] = specialToken{token, object}
	if _, known := t.addedByKey[token]; known && !object {
		return 0
	}
	return t.addSpecials([]string{token})
}

// AddSpecial adds tokens to the additional special tokens, and returns how many of them are new
// to the vocabulary.
func (t *Tokenizer) AddSpecial(tokens ...string) (added int) {
	var fresh []string
	for _, token := range tokens {
		if !t.isAdditional(token) {
			t.config.additional = append(t.config.additional, specialToken{token, true})
			fresh = append(fresh, token)
		}
	}
	return t.addSpecials(fresh)
}

func (t *Tokenizer) isAdditional(token string) bool {
	for _, s := range t.config.additional {
		if s.content == token {
			return true
		}
	}
	return false
}

// AddTokens adds tokens that are not special, and returns how many of them are new to the
// vocabulary.
func (t *Tokenizer) AddTokens(tokens ...string) (added int) {
	before := t.Len()
	for _, token := range tokens {
		if _, known := t.addedByKey[token]; !known && token != "" {
			t.add(AddedToken{Content: token, Normalized: true})
		}
	}
	t.buildMatchers()
	return t.Len() - before
}

func (t *Tokenizer) addSpecials(tokens []string) int {
	before := t.Len()
	for _, token := range tokens {
		t.add(AddedToken{Content: token, Special: true})
	}
	t.buildMatchers()
	return t.Len() - before
}

// ModelMaxLength is the model's maximum input length in tokens; math.MaxInt where the files
// name no limit.
func (t *Tokenizer) ModelMaxLength() int { return t.config.maxLength }

// SetModelMaxLength changes the value that Save writes.
func (t *Tokenizer) SetModelMaxLength(n int) { t.config.maxLength = n }

// SetPaddingSide changes the value that Save writes: "left" or "right".
func (t *Tokenizer) SetPaddingSide(side string) { t.config.side = side }
