package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/gguf"
)

// ggufFiles makes a folder's tokenizer.json and tokenizer_config.json from the values of a GGUF
// file, for the kinds gpt2 (byte-level BPE) and llama (SentencePiece BPE).
func ggufFiles(path string) (f files, err error) {
	file, err := gguf.Open(path)
	if err != nil {
		return f, fmt.Errorf("tokenizer: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	v := &ggufVocab{file: file}
	model := v.files()
	if v.err != nil {
		return f, fmt.Errorf("tokenizer: %w", v.err)
	}
	return files{dir: path, model: model, config: v.config}, nil
}

// ggufVocab is the tokenizer of a GGUF file; its first error is sticky.
type ggufVocab struct {
	file   *gguf.File
	tokens []string
	kinds  []int // in SentencePiece's numbers
	addBOS bool
	config []byte // tokenizer_config.json
	err    error
}

func (v *ggufVocab) fail(format string, args ...any) {
	if v.err == nil {
		v.err = fmt.Errorf("%s: "+format, append([]any{v.file.Path}, args...)...)
	}
}

// ggufValue is the value of tokenizer.ggml.NAME, or fallback where it is absent.
func ggufValue[T any](v *ggufVocab, name string, fallback T) T {
	x, ok, err := gguf.Get[T](v.file, "tokenizer.ggml."+name)
	if err != nil && v.err == nil {
		v.err = err
	}
	if !ok {
		return fallback
	}
	return x
}

// ggufSplit is the meaning of tokenizer.ggml.pre: how a text is split, and the class of
// tokenizers that does so.
type ggufSplit struct {
	class        string
	steps        []any
	normalizer   any
	ignoreMerges bool
	bos          bool // whether a BOS comes first where the file does not say
}

// ggufSplits are llama.cpp's pre-tokenizers (llama-vocab.cpp) of the supported model families.
var ggufSplits = func() map[string]ggufSplit {
	bytes := func(regex bool) object {
		return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex}
	}
	split := func(pattern string) []any {
		return []any{object{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated", "invert": false}, bytes(false)}
	}
	gpt2 := ggufSplit{class: "GPT2Tokenizer", steps: []any{bytes(true)}}
	digits := ggufSplit{class: "GPT2Tokenizer", steps: []any{object{"type": "Digits", "individual_digits": true}, bytes(true)}}
	dbrx := ggufSplit{class: "PreTrainedTokenizerFast", steps: split(cl100kHead + `\p{N}{1,3}` + cl100kTail)}
	llama3 := dbrx
	llama3.ignoreMerges, llama3.bos = true, true
	qwen2 := ggufSplit{class: "Qwen2Tokenizer", steps: split(cl100kHead + `\p{N}` + cl100kTail), normalizer: object{"type": "NFC"}}
	o200k := ggufSplit{class: "GPT2Tokenizer", steps: split(patternO200K)}
	isolated := func(patterns ...string) (steps []any) {
		for _, p := range patterns {
			steps = append(steps, split(p)[0])
		}
		return append(steps, object{"type": "Digits", "individual_digits": true}, bytes(false))
	}
	coder := ggufSplit{class: "LlamaTokenizerFast", steps: isolated(`[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, `[一-龥ࠀ-一가-퟿]+`)}
	nemo := ggufSplit{class: "PreTrainedTokenizerFast", steps: split(patternTekken), ignoreMerges: true, bos: true}
	return map[string]ggufSplit{
		"gpt-2": gpt2, "gpt2": gpt2, "mellum": gpt2, "a.x-4.0": gpt2, "gigachat": gpt2, "smollm": digits, "minerva-7b": digits, "starcoder": digits, "refact": digits, "dbrx": dbrx, "smaug-bpe": dbrx,
		"llama-bpe": llama3, "llama3": llama3, "llama-v3": llama3, "falcon3": llama3, "pixtral": llama3, "midm-2.0": llama3, "qwen2": qwen2, "f2llmv2": qwen2, "deepseek-r1-qwen": qwen2, "deepseek-coder": coder, "gpt-4o": o200k, "tekken": nemo,
	}
}()

// files makes tokenizer.json, and sets config.
func (v *ggufVocab) files() []byte {
	v.tokens, v.kinds = ggufValue(v, "tokens", []string(nil)), ggufValue(v, "token_type", []int(nil))
	kind := ggufValue(v, "model", "")
	if v.err == nil && len(v.tokens) == 0 {
		v.fail("it has no tokenizer (no tokenizer.ggml.tokens)")
	}
	if v.kinds == nil {
		v.kinds = make([]int, len(v.tokens))
		for i := range v.kinds {
			v.kinds[i] = pieceNormal
		}
	}
	if len(v.kinds) != len(v.tokens) {
		v.fail("tokenizer.ggml.token_type has %d entries for %d tokens", len(v.kinds), len(v.tokens))
	}
	if v.err != nil {
		return nil
	}
	v.trim()
	switch kind {
	case "gpt2":
		return v.bytePairs()
	case "llama":
		return v.sentencePieces()
	}
	v.fail("tokenizer.ggml.model is %q; gpt2 and llama are read: take the Hugging Face folder of the model", kind)
	return nil
}

// trim removes the tokens that only pad the vocabulary to the rows of the embeddings, and
// refuses duplicate tokens.
func (v *ggufVocab) trim() {
	n := len(v.tokens)
	for n > 0 && v.kinds[n-1] == pieceUnused {
		n--
	}
	v.tokens, v.kinds = v.tokens[:n], v.kinds[:n]
	seen := make(map[string]bool, n)
	for i, t := range v.tokens {
		if t == "" || seen[t] {
			v.fail("token %d (%q) is empty or a duplicate", i, t)
			return
		}
		seen[t] = true
	}
}

// bytePairs is the tokenizer.json of the kind gpt2.
func (v *ggufVocab) bytePairs() []byte {
	pre := ggufValue(v, "pre", "")
	split, ok := ggufSplits[pre]
	if !ok {
		v.fail("tokenizer.ggml.pre is %q, an unknown pre-tokenizer (%s are known): take the Hugging Face folder of the model", pre, strings.Join(slices.Sorted(maps.Keys(ggufSplits)), ", "))
		return nil
	}
	vocab := make(map[string]int, len(v.tokens))
	added := []any{}
	for i, t := range v.tokens {
		vocab[t] = i
		if k := v.kinds[i]; k == pieceControl || k == pieceUser {
			added = append(added, object{
				"id": i, "content": t, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": k == pieceControl,
			})
		}
	}
	pairs := [][2]string{}
	for i, m := range ggufValue(v, "merges", []string(nil)) {
		left, right, ok := strings.Cut(m, " ")
		if !ok {
			v.fail("tokenizer.ggml.merges: entry %d (%q) is not a pair", i, m)
			return nil
		}
		pairs = append(pairs, [2]string{left, right})
	}
	v.addBOS = ggufValue(v, "add_bos_token", split.bos)
	bos, id := v.special("bos")
	var post any
	if v.addBOS && bos != "" {
		post = afterBOS(bos, id)
	}
	v.describe(split.class)
	return v.marshal(object{
		"version": "1.0", "added_tokens": added, "normalizer": split.normalizer, "post_processor": post, "decoder": byteLevelDecoder,
		"pre_tokenizer": object{"type": "Sequence", "pretokenizers": split.steps},
		"model":         object{"type": "BPE", "vocab": vocab, "merges": pairs, "ignore_merges": split.ignoreMerges},
	})
}

// sentencePieces is the tokenizer.json of the kind llama.
func (v *ggufVocab) sentencePieces() []byte {
	scores := ggufValue(v, "scores", []float64(nil))
	if len(scores) < len(v.tokens) {
		v.fail("tokenizer.ggml.scores has %d entries for %d tokens", len(scores), len(v.tokens))
		return nil
	}
	m := &pieceModel{algorithm: 2, unknown: "<unk>"}
	for i, t := range v.tokens {
		m.pieces = append(m.pieces, piece{t, float32(scores[i]), uint64(v.kinds[i])})
		if v.kinds[i] == pieceUnknown {
			m.unknown = t
		}
	}
	_, m.bos = v.special("bos")
	v.addBOS = ggufValue(v, "add_bos_token", true)
	v.describe("LlamaTokenizer")
	if v.err != nil {
		return nil
	}
	c := config{}
	if v.err = json.Unmarshal(v.config, &c.fields); v.err != nil {
		return nil
	}
	text, err := m.convert("LlamaTokenizer", &c)
	if err != nil {
		v.fail("%w", err)
	}
	return text
}

// special is the token with a role; "" where the file names none.
func (v *ggufVocab) special(part string) (token string, id int) {
	switch id = ggufValue(v, part+"_token_id", -1); {
	case id < 0:
		return "", 0
	case id >= len(v.tokens):
		v.fail("tokenizer.ggml.%s_token_id is %d, there are %d tokens", part, id, len(v.tokens))
		return "", 0
	}
	return v.tokens[id], id
}

// describe makes tokenizer_config.json.
func (v *ggufVocab) describe(class string) {
	c := object{
		"tokenizer_class": class, "add_bos_token": v.addBOS, "clean_up_tokenization_spaces": false,
		"add_prefix_space": ggufValue(v, "add_space_prefix", class == "LlamaTokenizer"),
	}
	for name, part := range map[string]string{"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"} {
		c[name] = nil // null; otherwise the class's own token would be used
		if token, _ := v.special(part); token != "" {
			c[name] = token
		}
	}
	arch, _, err := gguf.Get[string](v.file, "general.architecture")
	if err != nil {
		v.fail("%w", err)
	}
	if n, ok, err := gguf.Get[int](v.file, arch+".context_length"); ok && err == nil {
		c["model_max_length"] = n
	}
	if chat, ok, err := gguf.Get[string](v.file, "tokenizer.chat_template"); err != nil {
		v.fail("%w", err)
	} else if ok {
		c["chat_template"] = chat
	}
	v.config = v.marshal(c)
}

func (v *ggufVocab) marshal(o object) []byte {
	text, err := marshal(o)
	if err != nil {
		v.fail("%w", err)
	}
	return text
}
