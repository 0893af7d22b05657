// Package tokenizer turns text into the ids a model was trained with, and back:
// byte-level BPE (GPT-2, Llama 3, Qwen 2) and SentencePiece BPE (Llama 2,
// Mistral), read from Hugging Face's tokenizer.json (or vocab.json and merges.txt, or
// tokenizer.model), tokenizer_config.json, special_tokens_map.json, added_tokens.json,
// chat_template.jinja and additional_chat_templates.
//
// Anything in a file that this package does not implement is an error that names the file, the
// JSON path and the value: ids are right or there are none.
package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
)

// Tokenizer encodes and decodes. Encode, Decode and the getters are safe for concurrent use;
// SetEOS, SetPad, AddSpecial and the other setters need exclusive access.
type Tokenizer struct {
	model     bpe
	normalize normalizer // nil = none
	pre       preTokenizer
	decoders  []decodeStep
	template  []postItem // the tokens that EncodeSpecial puts around the text; nil = none

	added      []AddedToken // in order of id
	addedByID  map[int32]int
	addedByKey map[string]int
	raw        *matcher // added tokens that are matched against the original text
	normalized *matcher // and those matched against the normalised text
	source     source   // tokenizer.json as it was read
	modified   bool     // added differs from source
	config     config
	scratch    sync.Pool
}

// maxFile bounds a tokenizer's files; the largest tokenizer.json known takes 40 MB.
const maxFile = 512 << 20

// files are the contents of a tokenizer's files; nil = missing.
type files struct {
	dir                                 string
	model, config, special, chat, added []byte
	base                                []byte            // config.json of the model
	chats                               map[string]string // chat templates that are files of their own
}

// Load reads the tokenizer of a Hugging Face model folder: tokenizer.json, or where that is
// missing, the vocab.json and merges.txt or the tokenizer.model from which transformers makes
// it. dir may be a GGUF file.
func Load(dir string) (*Tokenizer, error) {
	if gguf.Is(dir) {
		f, err := ggufFiles(dir)
		if err != nil {
			return nil, err
		}
		return f.parse()
	}
	f := files{dir: dir}
	for name, into := range map[string]*[]byte{
		tokenizerFile: &f.model, configFile: &f.config, specialFile: &f.special, chatFile: &f.chat, addedFileName: &f.added, "config.json": &f.base,
	} {
		data, err := storage.ReadInput(filepath.Join(dir, name), maxFile)
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("tokenizer: %w", err)
		}
		*into = data
	}
	var err error
	if f.chats, err = readChatFiles(dir); err != nil {
		return nil, err
	}
	if f.model == nil {
		if f.model, err = convert(dir, f.config, classOf(f.base)); err != nil {
			return nil, err
		}
	}
	return f.parse()
}

// parse builds a tokenizer from the contents of its files.
func (f files) parse() (*Tokenizer, error) {
	loadClasses()
	t := &Tokenizer{addedByID: map[int32]int{}, addedByKey: map[string]int{}}
	t.scratch.New = func() any { return new(scratch) }
	if err := t.parseModel(filepath.Join(f.dir, tokenizerFile), f.model); err != nil {
		return nil, err
	}
	t.config.byModel = classOf(f.base)
	if err := t.parseConfig(f); err != nil {
		return nil, err
	}
	t.classTemplate()
	if _, given := t.config.fields["add_prefix_space"]; given || t.class() != "LlamaTokenizer" { // LlamaTokenizerFast has no default
		t.pre.override(t.config.bool("add_prefix_space", false))
	}
	t.buildMatchers()
	return t, nil
}

// Encode returns the ids of s. Added tokens in the text of s become their ids; no special
// tokens are put around it. Invalid UTF-8 counts as U+FFFD.
func (t *Tokenizer) Encode(s string) []int32 {
	if s == "" {
		return nil
	}
	return t.Append(make([]int32, 0, len(s)/3+4), s)
}

// Append appends the ids of s to dst: Encode without an allocation of its own.
func (t *Tokenizer) Append(dst []int32, s string) []int32 {
	s = validUTF8(s)
	buffers := t.scratch.Get().(*scratch)
	defer t.scratch.Put(buffers)
	token := func(a *AddedToken) { dst = append(dst, a.ID) }
	t.raw.split(s, func(piece string, from int) {
		if t.normalize != nil {
			piece = t.normalize(piece)
		}
		t.normalized.split(piece, func(piece string, at int) {
			dst = t.encode(dst, piece, from == 0 && at == 0, buffers)
		}, token)
	}, token)
	return dst
}

// EncodeSpecial is Encode with the tokens around it that the file's post-processor or the
// tokenizer's class adds (a BOS, for example).
func (t *Tokenizer) EncodeSpecial(s string) []int32 {
	if t.template == nil {
		return t.Encode(s)
	}
	var ids []int32
	for _, item := range t.template {
		if item.text {
			ids = t.Append(ids, s)
		} else {
			ids = append(ids, item.ids...)
		}
	}
	return ids
}

// ID returns the id of the token with exactly this spelling.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if i, ok := t.addedByKey[token]; ok {
		return t.added[i].ID, true
	}
	id, ok := t.model.vocab[token]
	return id, ok
}

// Token returns the spelling of id in the vocabulary.
func (t *Tokenizer) Token(id int32) (string, bool) {
	if i, ok := t.addedByID[id]; ok {
		return t.added[i].Content, true
	}
	if id < 0 || int(id) >= len(t.model.tokens) || t.model.tokens[id] == "" {
		return "", false
	}
	return t.model.tokens[id], true
}

// IsSpecial reports whether id is an added token marked special.
func (t *Tokenizer) IsSpecial(id int32) bool {
	i, ok := t.addedByID[id]
	return ok && t.added[i].Special
}

// Len is the number of tokens, including added ones: the least number of rows that resize_vocab
// gives the embedding.
func (t *Tokenizer) Len() int {
	n := len(t.model.vocab)
	for _, a := range t.added {
		if _, ok := t.model.vocab[a.Content]; !ok {
			n++
		}
	}
	return n
}

// Added returns the added tokens in order of id.
func (t *Tokenizer) Added() []AddedToken { return append([]AddedToken(nil), t.added...) }

// buildMatchers prepares the search for added tokens.
func (t *Tokenizer) buildMatchers() {
	t.raw, t.normalized = newMatcher(), newMatcher()
	for _, a := range t.added {
		switch {
		case !a.Normalized:
			t.raw.add(a.Content, a)
		case t.normalize != nil:
			t.normalized.add(t.normalize(a.Content), a)
		default:
			t.normalized.add(a.Content, a)
		}
	}
	t.raw.prepare()
	t.normalized.prepare()
}
