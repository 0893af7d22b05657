package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"dataflex.dev/dataflex/data/pyjson"
)

// The files of a tokenizer, as transformers names them.
const (
	tokenizerFile = "tokenizer.json"
	configFile    = "tokenizer_config.json"
	specialFile   = "special_tokens_map.json"
	chatFile      = "chat_template.jinja"
	addedFileName = "added_tokens.json"
)

// The special tokens that have a role, as the files name them.
var specialNames = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// specialToken is a special token by its spelling. transformers writes it as an object where
// its flags are known, and as a string where it was set by name.
type specialToken struct {
	content string
	object  bool
}

// namedToken is a special token with the name that chat templates use for it.
type namedToken struct {
	name string
	specialToken
}

// config holds the content of tokenizer_config.json and of the files beside it.
type config struct {
	fields     map[string]json.RawMessage // tokenizer_config.json
	special    map[string]specialToken    // by name, where set
	additional []specialToken             // additional_special_tokens, or transformers 5's list extra_special_tokens
	named      []namedToken               // extra_special_tokens where it is an object, in the file's order
	chat       chatTemplates
	byModel    string // the class of the model's type, where the files name none
	maxLength  int
	side       string
}

// noMaxLength is transformers' value for texts without a limit.
const noMaxLength = "1000000000000000019884624838656"

func (c *config) bool(name string, fallback bool) bool {
	if raw, ok := c.fields[name]; ok {
		return string(raw) == "true"
	}
	return fallback
}

func (c *config) string(name string) string {
	var s string
	if json.Unmarshal(c.fields[name], &s) != nil {
		return ""
	}
	return s
}

func (c *config) cleanUpSpaces() bool { return c.bool("clean_up_tokenization_spaces", false) }

// parseConfig reads the files beside tokenizer.json.
func (t *Tokenizer) parseConfig(f files) error {
	dir, main, special := f.dir, f.config, f.special
	c := &t.config
	c.fields, c.special, c.maxLength = map[string]json.RawMessage{}, map[string]specialToken{}, math.MaxInt
	p := &parser{file: filepath.Join(dir, configFile)}
	if main != nil {
		if err := json.Unmarshal(main, &c.fields); err != nil || c.fields == nil {
			return fmt.Errorf("tokenizer: %s: not a JSON object (%v)", p.file, err)
		}
	}
	t.addDeclared(p)
	t.parseSpecials(p, c.fields)
	t.classDefaults()
	if isNull(c.fields["added_tokens_decoder"]) && f.added != nil && p.err == nil {
		p.file = filepath.Join(dir, addedFileName)
		t.addListed(p, f.added)
		p.file = filepath.Join(dir, configFile)
	}
	// In files older than added_tokens_decoder the map takes precedence.
	if special != nil && isNull(c.fields["added_tokens_decoder"]) && p.err == nil {
		p.file = filepath.Join(dir, specialFile)
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(special, &fields); err != nil {
			return fmt.Errorf("tokenizer: %s: %w", p.file, err)
		}
		t.parseSpecials(p, fields)
		p.file = filepath.Join(dir, configFile)
	}
	c.chat = parseChat(p, f, c.fields["chat_template"])
	c.side = c.string("padding_side")
	if raw := c.fields["model_max_length"]; !isNull(raw) {
		f, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || f < 1 {
			p.fail("model_max_length", "want a number, got %s", clip(string(raw)))
		}
		if f < 1<<53 {
			c.maxLength = int(f)
		}
	}
	if p.err == nil {
		t.addMissingSpecials()
	}
	return p.err
}

// addDeclared adds the tokens of added_tokens_decoder.
func (t *Tokenizer) addDeclared(p *parser) {
	raw := t.config.fields["added_tokens_decoder"]
	if isNull(raw) {
		return
	}
	var declared map[int32]addedFile
	if err := json.Unmarshal(raw, &declared); err != nil {
		p.fail("added_tokens_decoder", "%v", err)
		return
	}
	for _, id := range slices.Sorted(maps.Keys(declared)) {
		a := declared[id]
		if a.Content == "" {
			p.fail(fmt.Sprintf("added_tokens_decoder.%d.content", id), "empty")
			return
		}
		t.add(a.token()) // its id is the next one whatever the file says, as in transformers
	}
}

// addListed adds the tokens of added_tokens.json, which older folders without
// added_tokens_decoder have: text and id. Known tokens are unchanged, and of two tokens with
// one id that of tokenizer.json is taken.
func (t *Tokenizer) addListed(p *parser, text []byte) {
	var ids map[string]int32
	if err := json.Unmarshal(text, &ids); err != nil {
		p.fail(addedFileName, "%v", err)
		return
	}
	byID := slices.SortedFunc(maps.Keys(ids), func(a, b string) int {
		return cmp.Or(cmp.Compare(ids[a], ids[b]), cmp.Compare(a, b))
	})
	byID = slices.DeleteFunc(byID, func(token string) bool {
		_, taken := t.addedByID[ids[token]]
		return taken || token == ""
	})
	for _, token := range byID {
		if _, known := t.addedByKey[token]; !known {
			special := t.isSpecialName(token)
			t.add(AddedToken{Content: token, Special: special, Normalized: !special})
		}
	}
}

// isSpecialName reports whether the configuration gives the token a role.
func (t *Tokenizer) isSpecialName(token string) bool {
	for _, s := range t.config.special {
		if s.content == token {
			return true
		}
	}
	return t.isAdditional(token) || slices.ContainsFunc(t.config.named, func(n namedToken) bool { return n.content == token })
}

// parseSpecials reads bos_token and so on; a value is a string or an object.
func (t *Tokenizer) parseSpecials(p *parser, fields map[string]json.RawMessage) {
	for _, name := range specialNames {
		if raw := fields[name]; !isNull(raw) {
			if s, ok := t.parseSpecial(p, name, raw); ok {
				_, known := t.addedByKey[s.content]
				s.object = s.object || known
				t.config.special[name] = s
			}
		}
	}
	name, extra := "additional_special_tokens", fields["extra_special_tokens"]
	switch {
	case isNull(extra):
	case extra[0] == '{':
		t.parseNamed(p, extra)
	case isNull(fields[name]) || string(bytes.Join(bytes.Fields(extra), nil)) != "[]":
		name = "extra_special_tokens" // transformers 5's name, which takes precedence
	}
	raw := fields[name]
	if isNull(raw) {
		return
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		p.fail(name, "%v", err)
		return
	}
	for i, raw := range list { // special_tokens_map.json adds to the configuration's list
		if s, ok := t.parseSpecial(p, fmt.Sprintf("%s[%d]", name, i), raw); ok && !t.isAdditional(s.content) {
			t.config.additional = append(t.config.additional, s)
		}
	}
}

// parseNamed reads extra_special_tokens where it is an object: image tokens and the like, by
// the names that chat templates use.
func (t *Tokenizer) parseNamed(p *parser, raw json.RawMessage) {
	object, err := pyjson.DecodeObject(raw)
	if err != nil {
		p.fail("extra_special_tokens", "%v", err)
		return
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		p.fail("extra_special_tokens", "%v", err)
		return
	}
	t.config.named = nil
	for _, m := range object {
		if raw := values[m.Key]; !isNull(raw) {
			if s, ok := t.parseSpecial(p, "extra_special_tokens."+m.Key, raw); ok {
				t.config.named = append(t.config.named, namedToken{m.Key, s})
			}
		}
	}
}

func (t *Tokenizer) parseSpecial(p *parser, path string, raw json.RawMessage) (specialToken, bool) {
	var s specialToken
	if raw[0] != '{' {
		if err := json.Unmarshal(raw, &s.content); err != nil {
			p.fail(path, "want a string or an object, got %s", clip(string(raw)))
			return s, false
		}
		return s, s.content != ""
	}
	var a addedFile
	if err := json.Unmarshal(raw, &a); err != nil || a.Content == "" {
		p.fail(path, "want an added token, got %s", clip(string(raw)))
		return s, false
	}
	if _, ok := t.addedByKey[a.Content]; !ok {
		a.Special = true
		t.add(a.token())
	}
	return specialToken{a.Content, true}, true
}

// addMissingSpecials makes Encode recognise every special token.
func (t *Tokenizer) addMissingSpecials() {
	all := make([]specialToken, 0, len(specialNames)+len(t.config.additional)+len(t.config.named))
	for _, name := range specialNames {
		all = append(all, t.config.special[name])
	}
	all = append(all, t.config.additional...)
	for _, n := range t.config.named {
		all = append(all, n.specialToken)
	}
	for _, s := range all {
		if _, ok := t.addedByKey[s.content]; !ok && s.content != "" {
			t.add(AddedToken{Content: s.content, Special: true})
		}
	}
}
