package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// source is tokenizer.json and the place of its added_tokens.
type source struct {
	data       []byte
	start, end int // of the value of added_tokens; 0, 0 = absent
}

// maxGap bounds how far ids may exceed the number of tokens, so that a broken file cannot
// exhaust memory.
const maxGap = 1 << 20

// parseModel reads tokenizer.json.
func (t *Tokenizer) parseModel(path string, data []byte) error {
	p := &parser{file: path}
	fields, err := t.source.read(data)
	if err != nil {
		return fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	root := node{p: p, fields: fields}
	root.only("version", "truncation", "padding", "added_tokens", "normalizer",
		"pre_tokenizer", "post_processor", "decoder", "model")
	if isNull(fields["model"]) {
		p.fail("model", "missing")
	}
	if p.err != nil {
		return p.err
	}
	marks := false
	if !isNull(fields["normalizer"]) {
		t.normalize, marks = p.normalizer(fields["normalizer"], "normalizer")
	}
	p.preTokenizer(&t.pre, &t.model, fields["pre_tokenizer"], marks)
	p.model(&t.model, fields["model"])
	if !isNull(fields["decoder"]) {
		t.decoders = p.decoder(fields["decoder"], "decoder")
	}
	if p.err == nil {
		t.parseAdded(p, fields["added_tokens"])
	}
	if !isNull(fields["post_processor"]) && p.err == nil {
		t.template = p.postProcessor(fields["post_processor"], "post_processor")
	}
	return p.err
}

// read splits the file into its top-level values and records the place of added_tokens, so that
// Save can leave the rest unchanged.
func (s *source) read(data []byte) (map[string]json.RawMessage, error) {
	s.data = data
	d := json.NewDecoder(bytes.NewReader(data))
	switch tok, err := d.Token(); {
	case err != nil:
		return nil, fmt.Errorf("not a JSON object (%w)", err)
	case tok != json.Delim('{'):
		return nil, fmt.Errorf("not a JSON object: it begins with %v", tok)
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("%v: %w", key, err)
		}
		name := key.(string)
		if name == "added_tokens" {
			s.end = int(d.InputOffset())
			s.start = s.end - len(raw)
		}
		fields[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	return fields, nil
}

// modelFile is the "model" of a tokenizer.json.
type modelFile struct {
	Type                    *string          `json:"type"`
	Dropout                 *float64         `json:"dropout"`
	UnkToken                *string          `json:"unk_token"`
	ContinuingSubwordPrefix *string          `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string          `json:"end_of_word_suffix"`
	FuseUnk                 bool             `json:"fuse_unk"`
	ByteFallback            bool             `json:"byte_fallback"`
	IgnoreMerges            bool             `json:"ignore_merges"`
	Vocab                   map[string]int32 `json:"vocab"`
	Merges                  json.RawMessage  `json:"merges"`
}

func (p *parser) model(m *bpe, raw json.RawMessage) {
	strict := func(into any) bool {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			p.fail("model", "%v", err)
			return false
		}
		return true
	}
	switch kind := p.object(raw, "model").kind; kind {
	case "BPE", "":
	case "Unigram":
		var f unigramFile
		if strict(&f) {
			p.unigram(m, f)
		}
		return
	default:
		p.unsupported("model.type", kind, `known: "BPE", "Unigram"`)
		return
	}
	var f modelFile
	if !strict(&f) {
		return
	}
	switch {
	case f.Dropout != nil && *f.Dropout != 0:
		p.unsupported("model.dropout", *f.Dropout, "encoding would be random")
	case f.ContinuingSubwordPrefix != nil && *f.ContinuingSubwordPrefix != "":
		p.unsupported("model.continuing_subword_prefix", *f.ContinuingSubwordPrefix, "want none")
	case f.EndOfWordSuffix != nil && *f.EndOfWordSuffix != "":
		p.unsupported("model.end_of_word_suffix", *f.EndOfWordSuffix, "want none")
	}
	m.vocab, m.byteFallback, m.ignoreMerges, m.fuseUnknown = f.Vocab, f.ByteFallback, f.IgnoreMerges, f.FuseUnk
	m.unknown = -1
	if f.UnkToken != nil {
		id, ok := f.Vocab[*f.UnkToken]
		if !ok {
			p.fail("model.unk_token", "%q is not in model.vocab", *f.UnkToken)
		}
		m.unknown = id
	}
	m.cache = newSharedCache()
	p.index(m)
	p.mergeList(m, f.Merges)
}

// index builds the look-up tables by id and by byte.
func (p *parser) index(m *bpe) {
	for token, id := range m.vocab {
		if id < 0 || int(id) >= len(m.vocab)+maxGap {
			p.fail("model.vocab", "id %d of %q is out of range", id, token)
			return
		}
		if n := int(id) + 1; n > len(m.tokens) {
			m.tokens = append(m.tokens, make([]string, n-len(m.tokens))...)
		}
		if m.tokens[id] != "" {
			first, second := min(token, m.tokens[id]), max(token, m.tokens[id])
			p.fail("model.vocab", "%q and %q share the id %d", first, second, id)
			return
		}
		m.tokens[id] = token
	}
	for b := range 256 {
		name := string(byteAlphabet[b])
		if !m.byteLevel {
			name = fmt.Sprintf("<0x%02X>", b)
		}
		m.bytes[b] = -1
		if id, ok := m.vocab[name]; ok {
			m.bytes[b] = id
		}
	}
}

// mergePairs reads merges, "a b" or ["a", "b"] each.
func mergePairs(raw json.RawMessage) ([][]string, error) {
	var pairs [][]string
	inside := bytes.TrimLeft(bytes.TrimPrefix(raw, []byte("[")), " \t\r\n")
	if !bytes.HasPrefix(inside, []byte(`"`)) {
		err := json.Unmarshal(raw, &pairs)
		return pairs, err
	}
	var lines []string
	if err := json.Unmarshal(raw, &lines); err != nil {
		return nil, err
	}
	for _, line := range lines {
		pairs = append(pairs, strings.Split(line, " "))
	}
	return pairs, nil
}

func (p *parser) mergeList(m *bpe, raw json.RawMessage) {
	if p.err != nil {
		return
	}
	if isNull(raw) {
		p.fail("model.merges", "missing")
		return
	}
	pairs, err := mergePairs(raw)
	if err != nil {
		p.fail("model.merges", `want a list of "a b" or of ["a", "b"]: %v`, err)
		return
	}
	m.merges = newMergeTable(len(pairs))
	if !m.byteLevel && !m.ignoreMerges {
		m.joins = newJoinTable(m.vocab)
	}
	for i, pair := range pairs {
		if len(pair) != 2 {
			p.fail(fmt.Sprintf("model.merges[%d]", i), "%q has %d parts, want 2", pair, len(pair))
			return
		}
		a, okA := m.vocab[pair[0]]
		b, okB := m.vocab[pair[1]]
		both, ok := m.vocab[pair[0]+pair[1]]
		if !okA || !okB || !ok {
			p.fail(fmt.Sprintf("model.merges[%d]", i), "%q + %q or their union is not in model.vocab", pair[0], pair[1])
			return
		}
		m.merges.put(a, b, merge{int32(i), both})
		if m.joins != nil {
			last, _ := utf8.DecodeLastRuneInString(pair[0])
			first, _ := utf8.DecodeRuneInString(pair[1])
			m.joins[joinClass(last)][joinClass(first)] = true
		}
	}
}

// addedFile is an entry of added_tokens.
type addedFile struct {
	ID         *int32 `json:"id,omitempty"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// token converts a to an AddedToken; its id is assigned by add.
func (a addedFile) token() AddedToken {
	return AddedToken{
		Content: a.Content, SingleWord: a.SingleWord, LStrip: a.LStrip, RStrip: a.RStrip,
		Normalized: a.Normalized, Special: a.Special,
	}
}

func (t *Tokenizer) parseAdded(p *parser, raw json.RawMessage) {
	if isNull(raw) {
		return
	}
	var list []addedFile
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		p.fail("added_tokens", "%v", err)
		return
	}
	for i, a := range list {
		path := fmt.Sprintf("added_tokens[%d]", i)
		if a.Content == "" || !utf8.ValidString(a.Content) {
			p.fail(path+".content", "empty")
			return
		}
		t.add(a.token()) // its id is the next one whatever the file says, as in the library
	}
	t.modified = false
}

// add makes a an added token, or updates a known one, and returns its id: that of the
// vocabulary where it is in there, else the next one.
func (t *Tokenizer) add(a AddedToken) int32 {
	if i, ok := t.addedByKey[a.Content]; ok {
		a.ID = t.added[i].ID
		t.modified = t.modified || t.added[i] != a
		t.added[i] = a
		return a.ID
	}
	id, ok := t.model.vocab[a.Content]
	if !ok {
		id = int32(len(t.model.vocab))
		if n := len(t.added); n > 0 {
			id = max(id, t.added[n-1].ID+1)
		}
	}
	a.ID = id
	at, _ := slices.BinarySearchFunc(t.added, id, func(b AddedToken, id int32) int { return int(b.ID - id) })
	t.added = slices.Insert(t.added, at, a)
	for i := at; i < len(t.added); i++ {
		t.addedByKey[t.added[i].Content], t.addedByID[t.added[i].ID] = i, i
	}
	t.modified = true
	return id
}
