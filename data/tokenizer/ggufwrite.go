package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/gguf"
)

// GGUF describes the tokenizer as llama.cpp's files do: tokenizer.ggml.* and
// tokenizer.chat_template, with one token for each of rows rows of the embeddings. A tokenizer
// that llama.cpp would apply differently is an error.
func (t *Tokenizer) GGUF(rows int) ([]gguf.Value, error) {
	w := &ggufTokens{t: t}
	if err := w.read(); err != nil {
		return nil, fmt.Errorf("tokenizer: %w: export a Hugging Face folder", err)
	}
	for id := range max(rows, t.size()) {
		w.add(int32(id))
	}
	if w.model.byteLevel {
		w.value("ggml.merges", w.merges)
	} else {
		scores, err := w.scores()
		if err != nil {
			return nil, fmt.Errorf("tokenizer: %w: export a Hugging Face folder", err)
		}
		w.value("ggml.scores", scores)
		w.value("ggml.add_space_prefix", w.prefix)
	}
	w.value("ggml.tokens", w.tokens)
	w.value("ggml.token_type", w.kinds)
	w.special()
	if err := w.chat(); err != nil {
		return nil, fmt.Errorf("tokenizer: %w: export a Hugging Face folder", err)
	}
	return w.values, nil
}

// size is one more than the largest id.
func (t *Tokenizer) size() int {
	n := len(t.model.tokens)
	for _, a := range t.added {
		n = max(n, int(a.ID)+1)
	}
	return n
}

// ggufTokens is a tokenizer being converted to GGUF.
type ggufTokens struct {
	t      *Tokenizer
	model  *bpe
	merges []string
	pairs  [][]string
	prefix bool // a space is put before the text; SentencePiece only
	tokens []string
	kinds  []int32
	values []gguf.Value
}

func (w *ggufTokens) value(name string, v any) {
	w.values = append(w.values, gguf.Value{Key: "tokenizer." + name, Value: v})
}

// pieceByte is the kind of <0x00> to <0xFF>; llama.cpp's llama_token_type continues
// SentencePiece's numbers.
const pieceByte = 6

var byteToken = regexp.MustCompile(`^<0x[0-9A-F]{2}>$`)

// add adds the token of the next id.
func (w *ggufTokens) add(id int32) {
	text, ok := w.t.Token(id)
	kind := int32(pieceNormal)
	switch at, added := w.t.addedByID[id]; {
	case !ok:
		text, kind = fmt.Sprintf("[PAD%d]", id), pieceUnused
	case id == w.model.unknown && !w.model.byteLevel:
		kind = pieceUnknown
	case added && (w.t.added[at].Special || looksSpecial(text)):
		kind = pieceControl
	case added:
		text, kind = strings.ReplaceAll(text, spaceMark, " "), pieceUser
	case !w.model.byteLevel && byteToken.MatchString(text):
		kind = pieceByte
	}
	w.tokens, w.kinds = append(w.tokens, text), append(w.kinds, kind)
}

// looksSpecial recognises tokens that some tokenizers forget to mark as special
// (does_token_look_special of convert_hf_to_gguf.py).
func looksSpecial(token string) bool {
	between := func(start, end string) bool { return strings.HasPrefix(token, start) && strings.HasSuffix(token, end) }
	return slices.Contains([]string{"<pad>", "<mask>", "<2mass>", "[@BOS@]"}, token) ||
		between("<|", "|>") || between("<｜", "｜>") || between("<unused", ">")
}

// read reads the values of a GGUF file from tokenizer.json.
func (w *ggufTokens) read() error {
	w.model = &w.t.model
	if w.model.unigram != nil {
		return errors.New("it is a unigram model, which llama.cpp supports for other kinds of models only")
	}
	var s source
	fields, err := s.read(w.t.source.data)
	if err != nil {
		return err
	}
	var file modelFile
	if err := json.Unmarshal(fields["model"], &file); err != nil {
		return err
	}
	if w.pairs, err = mergePairs(file.Merges); err != nil {
		return err
	}
	for _, p := range w.pairs {
		w.merges = append(w.merges, strings.Join(p, " "))
	}
	normal, split := describeSteps(fields["normalizer"], "normalizers"), describeSteps(fields["pre_tokenizer"], "pretokenizers")
	if w.model.byteLevel {
		return w.readBytes(normal, split)
	}
	return w.readPieces(normal, split)
}

// readBytes finds llama.cpp's name for the pre-tokenizer of a byte-level tokenizer.
func (w *ggufTokens) readBytes(normal, split []string) error {
	if slices.ContainsFunc(normal, func(s string) bool { return s != "NFC" }) { // llama.cpp assumes that texts are already composed
		return fmt.Errorf("its normalizer (%s) is not llama.cpp's", strings.Join(normal, ", "))
	}
	name, ok := ggufPre[strings.Join(split, ", ")]
	if !ok || w.t.config.bool("add_prefix_space", false) {
		return fmt.Errorf("its pre-tokenizer (%s) is none of llama.cpp's known ones", strings.Join(split, ", "))
	}
	if name == "llama-bpe" && !w.model.ignoreMerges {
		name = "dbrx" // the same pattern without the shortcut for whole words
	}
	w.value("ggml.model", "gpt2")
	w.value("ggml.pre", name)
	return nil
}

// The patterns of OpenAI's o200k and of Mistral's Tekken, as in tokenizer.json.
const (
	capitals      = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
	allCapitals   = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`
	contractions  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`
	o200kTail     = `| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternO200K  = capitals + contractions + "|" + allCapitals + contractions + `|\p{N}{1,3}` + o200kTail
	patternTekken = capitals + "|" + allCapitals + `|\p{N}` + o200kTail
)

// ggufPre are llama.cpp's names (llama-vocab.cpp) for pre-tokenizers. Where several names mean
// the same one, the first in convert_hf_to_gguf.py is used.
var ggufPre = map[string]string{
	"ByteLevel regex":                                                 "gpt-2",
	"Split " + patternGPT2 + ", ByteLevel":                            "gpt-2",
	"Digits individual, ByteLevel regex":                              "smollm",
	"Split " + tiktokenCL100K + ", ByteLevel":                         "llama-bpe",
	"Split " + cl100kHead + `\p{N}{1,3}` + cl100kTail + ", ByteLevel": "llama-bpe",
	"Split " + cl100kHead + `\p{N}` + cl100kTail + ", ByteLevel":      "qwen2",
	"Split " + patternO200K + ", ByteLevel":                           "gpt-4o",
	"Split " + patternTekken + ", ByteLevel":                          "tekken",
}

// readPieces checks that a tokenizer is one of SentencePiece's BPE models.
func (w *ggufTokens) readPieces(normal, split []string) error {
	if !w.model.byteFallback {
		return errors.New("it is neither a byte-level BPE nor a SentencePiece model that falls back to bytes")
	}
	const mark, prepend = "Replace \" \" ▁", "Prepend ▁"
	steps := strings.Join(slices.Concat(normal, split), ", ")
	switch steps {
	case mark, mark + ", Split \" \"":
	case prepend + ", " + mark, "Metaspace first", "Metaspace always":
		w.prefix = true
	case "Metaspace never":
	default:
		return fmt.Errorf("its handling of spaces (%s) is not llama.cpp's", steps)
	}
	w.value("ggml.model", "llama")
	w.value("ggml.pre", "default")
	return nil
}

// describeSteps describes a normalizer or a pre-tokenizer, one word for each step.
func describeSteps(raw json.RawMessage, list string) []string {
	if isNull(raw) {
		return nil
	}
	n := (&parser{}).object(raw, "")
	if n.kind != "Sequence" {
		return []string{describeStep(n)}
	}
	var out []string
	for _, item := range get(n, list, []json.RawMessage(nil)) {
		out = append(out, describeSteps(item, list)...)
	}
	return out
}

func describeStep(n node) string {
	switch n.kind {
	case "ByteLevel":
		if get(n, "add_prefix_space", true) {
			return "ByteLevel with a space in front"
		}
		if get(n, "use_regex", true) {
			return "ByteLevel regex"
		}
		return "ByteLevel"
	case "Digits":
		if get(n, "individual_digits", false) {
			return "Digits individual"
		}
	case "Split":
		kind, text := n.pattern()
		if kind == "String" {
			return fmt.Sprintf("Split %q", text)
		}
		behavior, invert := get(n, "behavior", ""), get(n, "invert", false)
		if behavior == "Isolated" && !invert || behavior == "Removed" && invert {
			return "Split " + text
		}
		return "Split " + behavior + " " + text
	case "Replace":
		kind, text := n.pattern()
		if kind == "String" {
			return fmt.Sprintf("Replace %q %s", text, get(n, "content", ""))
		}
	case "Prepend":
		return "Prepend " + get(n, "prepend", "")
	case "Metaspace":
		return "Metaspace " + get(n, "prepend_scheme", "always")
	}
	return n.kind
}

// scores reproduce the order of the merges: SentencePiece joins the two neighbours whose union
// has the best score, whichever pair it is.
func (w *ggufTokens) scores() ([]float32, error) {
	out := make([]float32, len(w.tokens))
	seen := map[string]bool{}
	for _, p := range w.pairs {
		if both := p[0] + p[1]; !seen[both] {
			out[w.model.vocab[both]] = float32(-len(seen))
			seen[both] = true
		}
	}
	last := float32(-len(seen))
	known := make(map[[2]string]bool, len(w.pairs))
	for _, p := range w.pairs {
		known[[2]string{p[0], p[1]}] = true
	}
	for id, token := range w.tokens {
		switch {
		case w.kinds[id] == pieceNormal && !seen[token]:
			out[id], last = last, last-1 // a single character: no merge makes it
		case w.kinds[id] == pieceNormal:
			if left, right, ok := w.other(token, known); ok {
				return nil, fmt.Errorf("it does not join %q and %q, which SentencePiece does: it is not a SentencePiece model", left, right)
			}
		}
	}
	return out, nil
}

// other finds two tokens that concatenate to a token without a merge that joins them.
func (w *ggufTokens) other(token string, known map[[2]string]bool) (left, right string, ok bool) {
	for i := range token {
		if i == 0 {
			continue
		}
		l, r := token[:i], token[i:]
		a, hasL := w.model.vocab[l]
		b, hasR := w.model.vocab[r]
		if hasL && hasR && !known[[2]string{l, r}] && w.kinds[a] == pieceNormal && w.kinds[b] == pieceNormal {
			return l, r, true
		}
	}
	return "", "", false
}

// ggufParts are the tokens with a role, under llama.cpp's names.
var ggufParts = []struct{ name, part string }{
	{"bos_token", "bos"},
	{"eos_token", "eos"},
	{"unk_token", "unknown"},
	{"sep_token", "seperator"}, // sic
	{"pad_token", "padding"},
	{"cls_token", "cls"},
	{"mask_token", "mask"},
}

// special writes the tokens with a role, and the chat template.
func (w *ggufTokens) special() {
	t := w.t
	for _, p := range ggufParts {
		if s, ok := t.config.special[p.name]; ok {
			if id, ok := t.ID(s.content); ok {
				w.value("ggml."+p.part+"_token_id", uint32(id))
			}
		}
	}
	is := func(at int, name string) bool {
		if len(t.template) < 2 {
			return false
		}
		s := t.config.special[name]
		id, ok := t.ID(s.content)
		return ok && slices.Equal(t.template[at].ids, []int32{id})
	}
	w.value("ggml.add_bos_token", is(0, "bos_token"))
	w.value("ggml.add_eos_token", is(len(t.template)-1, "eos_token"))
}

// chat writes the chat templates as llama.cpp's converter does (gguf_writer.py,
// add_chat_template): the default one as tokenizer.chat_template, every other as
// tokenizer.chat_template.NAME, and their names as tokenizer.chat_templates. In a name what is
// no ASCII letter or digit becomes "_".
func (w *ggufTokens) chat() error {
	c := w.t.config.chat
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.named)) {
		if name == "default" {
			continue
		}
		as := notInName.ReplaceAllString(name, "_")
		if slices.Contains(names, as) {
			return fmt.Errorf("two of the chat templates are named %s in a GGUF file: rename %q in %s", as, name, extraChatDir)
		}
		names = append(names, as)
		w.value("chat_template."+as, c.named[name])
	}
	if len(names) > 0 {
		w.value("chat_templates", names)
	}
	if c.text != "" {
		w.value("chat_template", c.text)
	}
	return nil
}

var notInName = regexp.MustCompile(`[^a-zA-Z0-9]`)
