package tokenizer

// BOS, EOS, Pad and Unknown return the spelling and id of the token with that
// part; ok is false where the tokenizer has none.
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

// AddBOS says whether the model expects a BOS in front of every document.
func (t *Tokenizer) AddBOS() bool {
	byDefault := false
	switch t.config.string("tokenizer_class") {
	case "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
		"GemmaTokenizer", "GemmaTokenizerFast", "CohereTokenizer", "CohereTokenizerFast":
		byDefault = true // what the class does when the file does not say
	}
	return t.config.bool("add_bos_token", byDefault)
}

// SetEOS makes token the end-of-sequence token and returns how many tokens that
// added to the vocabulary (0 or 1).
func (t *Tokenizer) SetEOS(token string) (added int) { return t.setSpecial("eos_token", token, true) }

// SetPad makes token the padding token and returns how many tokens that added.
func (t *Tokenizer) SetPad(token string) (added int) { return t.setSpecial("pad_token", token, false) }

func (t *Tokenizer) setSpecial(name, token string, object bool) int {
	t.config.special[name] = specialToken{token, object}
	if _, known := t.addedByKey[token]; known && !object {
		return 0
	}
	return t.addSpecials([]string{token})
}

// AddSpecial makes tokens additional special tokens, beside those there are,
// and returns how many of them the vocabulary did not have.
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

// AddTokens makes tokens known to Encode without making them special, and
// returns how many of them the vocabulary did not have.
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

// ChatTemplate is the Jinja text that renders a conversation; "" = none.
func (t *Tokenizer) ChatTemplate() string { return t.config.chat }

// SetChatTemplate replaces the chat template Save writes.
func (t *Tokenizer) SetChatTemplate(jinja string) { t.config.chat = jinja }

// ModelMaxLength is the longest text in tokens the model takes; math.MaxInt
// where the files name no limit.
func (t *Tokenizer) ModelMaxLength() int { return t.config.maxLength }

// SetModelMaxLength changes what Save writes.
func (t *Tokenizer) SetModelMaxLength(n int) { t.config.maxLength = n }

// PaddingSide is "left", "right" or "" where the files do not say.
func (t *Tokenizer) PaddingSide() string { return t.config.side }

// SetPaddingSide changes what Save writes.
func (t *Tokenizer) SetPaddingSide(side string) { t.config.side = side }
