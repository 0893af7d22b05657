package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Save writes the tokenizer's files into dir through write (an atomic writer, for example), as
// transformers 4.52 writes them: tokenizer.json, tokenizer_config.json, special_tokens_map.json
// and, with chat templates, chat_template.jinja and additional_chat_templates. tokenizer.json
// keeps its bytes except for added tokens.
func (t *Tokenizer) Save(dir string, write func(path string, data []byte) error) error {
	special, err := dump(t.specialMap(true))
	if err != nil {
		return fmt.Errorf("tokenizer: %s: %w", specialFile, err)
	}
	config, err := t.configMap()
	if err == nil {
		var text []byte
		if text, err = dump(config); err == nil {
			err = write(filepath.Join(dir, configFile), text)
		}
	}
	if err != nil {
		return fmt.Errorf("tokenizer: %s: %w", configFile, err)
	}
	if err := write(filepath.Join(dir, specialFile), special); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	model, err := t.modelFile()
	if err == nil {
		err = write(filepath.Join(dir, tokenizerFile), model)
	}
	if err == nil {
		err = t.config.chat.save(dir, write)
	}
	if err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	return nil
}

// dump is Python's json.dumps(v, indent=2, sort_keys=True, ensure_ascii=False)
// and a newline.
func dump(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// flags are a token's flags in the form of special_tokens_map.json.
type flags struct {
	Content    string `json:"content"`
	LStrip     bool   `json:"lstrip"`
	Normalized bool   `json:"normalized"`
	RStrip     bool   `json:"rstrip"`
	SingleWord bool   `json:"single_word"`
}

func (a *AddedToken) flags() flags {
	return flags{a.Content, a.LStrip, a.Normalized, a.RStrip, a.SingleWord}
}

// specialMap holds every special token that is set: as an object with its flags where objects
// is set and it was read as one, else as a string.
func (t *Tokenizer) specialMap(objects bool) map[string]any {
	value := func(s specialToken) any {
		if i, ok := t.addedByKey[s.content]; ok && s.object && objects {
			return t.added[i].flags()
		}
		return s.content
	}
	all := map[string]any{}
	for name, s := range t.config.special {
		all[name] = value(s)
	}
	if len(t.config.additional) > 0 {
		list := make([]any, len(t.config.additional))
		for i, s := range t.config.additional {
			list[i] = value(s)
		}
		all["additional_special_tokens"] = list
	}
	return all
}

// configMap is the updated tokenizer_config.json.
func (t *Tokenizer) configMap() (map[string]any, error) {
	c := map[string]any{
		"clean_up_tokenization_spaces": false, "extra_special_tokens": map[string]any{},
		"split_special_tokens": false, "tokenizer_class": "PreTrainedTokenizerFast",
	}
	for name, raw := range t.config.fields {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber() // model_max_length has more digits than a float64
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		c[name] = v
	}
	for _, name := range []string{
		"chat_template", "tokenizer_file", "vocab_file", "merges_file", "name_or_path", "special_tokens_map_file", "device_map",
	} {
		delete(c, name)
	}
	maps.Copy(c, t.specialMap(false))
	if _, modern := c["extra_special_tokens"].([]any); modern {
		c["extra_special_tokens"] = []any{}
		if list, ok := c["additional_special_tokens"]; ok {
			c["extra_special_tokens"] = list // transformers 5 reads no other key
		}
	}
	if class, _ := c["tokenizer_class"].(string); class != "PreTrainedTokenizerFast" {
		c["tokenizer_class"] = strings.TrimSuffix(class, "Fast")
	}
	c["model_max_length"] = json.Number(noMaxLength)
	if n := t.config.maxLength; n != math.MaxInt {
		c["model_max_length"] = n
	}
	if t.config.side != "" {
		c["padding_side"] = t.config.side
	}
	c["added_tokens_decoder"] = decoderMap(t.added)
	return c, nil
}

// decoderMap writes added_tokens_decoder in numerical order of the ids, not in the order of
// their digits.
type decoderMap []AddedToken

// MarshalJSON implements json.Marshaler.
func (m decoderMap) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, a := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(strconv.Itoa(int(a.ID))) + ":")
		entry := struct {
			flags
			Special bool `json:"special"`
		}{a.flags(), a.Special}
		if err := e.Encode(entry); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// modelFile is tokenizer.json with the current added tokens.
func (t *Tokenizer) modelFile() ([]byte, error) {
	s := &t.source
	if !t.modified {
		return s.data, nil
	}
	list := make([]addedFile, len(t.added))
	for i, a := range t.added {
		id := a.ID
		list[i] = addedFile{&id, a.Content, a.SingleWord, a.LStrip, a.RStrip, a.Normalized, a.Special}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("  ", "  ")
	if err := e.Encode(list); err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(b.Bytes())
	if s.end > 0 {
		return slices.Concat(s.data[:s.start], text, s.data[s.end:]), nil
	}
	at := bytes.IndexByte(s.data, '{') + 1
	return slices.Concat(s.data[:at], []byte("\n  \"added_tokens\": "), text, []byte(","), s.data[at:]), nil
}
