package tokenizer

import (
	"encoding/json"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"

	"dataflex.dev/dataflex/data/tokenizer/regex"
)

// normalizer reads a normalizer; marks reports that it turns every space into ▁.
func (p *parser) normalizer(raw json.RawMessage, path string) (step normalizer, marks bool) {
	n := p.object(raw, path)
	switch n.kind {
	case "NFC":
		return form(norm.NFC), false
	case "NFD":
		return form(norm.NFD), false
	case "NFKC":
		return form(norm.NFKC), false
	case "NFKD":
		return form(norm.NFKD), false
	case "Prepend":
		n.only("prepend")
		return prepend(get(n, "prepend", "")), false
	case "Lowercase":
		return lowercase, false
	case "Strip":
		n.only("strip_left", "strip_right")
		return strip(get(n, "strip_left", true), get(n, "strip_right", true)), false
	case "StripAccents":
		return stripAccents, false
	case "Precompiled":
		n.only("precompiled_charsmap")
		c, err := charsmapOf(n.fields["precompiled_charsmap"])
		if err != nil {
			p.fail(path+".precompiled_charsmap", "%v", err)
			return nil, false
		}
		return c.normalize, false
	case "Replace":
		n.only("pattern", "content")
		kind, from := n.pattern()
		to := get(n, "content", "")
		if kind == "Regex" {
			r, err := regex.Compile(from)
			if err != nil {
				p.fail(path+".pattern", "%v", err)
				return nil, false
			}
			return replaceAll(r, to), false
		}
		if from == "" {
			p.fail(path+".pattern", "empty")
		}
		return replace(from, to), from == " " && to == spaceMark
	case "Sequence":
		n.only("normalizers")
		var steps []normalizer
		for i, raw := range get(n, "normalizers", []json.RawMessage(nil)) {
			step, m := p.normalizer(raw, path+".normalizers["+strconv.Itoa(i)+"]")
			steps, marks = append(steps, step), marks || m
		}
		return chain(steps), marks
	}
	p.unsupported(path+".type", n.kind, "known: Lowercase, NFC, NFD, NFKC, NFKD, Precompiled, Prepend, Replace, Sequence, Strip, StripAccents")
	return nil, false
}

// preTokenizer reads the pre-tokenizer; marks says that its input has no spaces left.
func (p *parser) preTokenizer(pre *preTokenizer, m *bpe, raw json.RawMessage, marks bool) {
	if isNull(raw) {
		return
	}
	n := p.object(raw, "pre_tokenizer")
	steps := []node{n}
	if n.kind == "Sequence" {
		n.only("pretokenizers")
		steps = n.list("pretokenizers")
	}
	for i, step := range steps {
		p.preStep(pre, m, step, marks, i == len(steps)-1)
	}
	pre.alone = n.kind == "ByteLevel"
}

// preStep reads one step. A ByteLevel step makes the model's words bytes.
func (p *parser) preStep(pre *preTokenizer, m *bpe, n node, marks, last bool) {
	add := func(s preStep) { pre.steps = append(pre.steps, s) }
	switch n.kind {
	case "ByteLevel":
		n.only("add_prefix_space", "trim_offsets", "use_regex")
		if m.byteLevel {
			p.unsupported(n.path, n.kind, "want ByteLevel once")
			return
		}
		m.byteLevel = true
		if get(n, "add_prefix_space", true) {
			add(prefixStep{})
		}
		if get(n, "use_regex", true) {
			add(scanner(scanGPT2))
		}
		if !last {
			add(alphabetStep{})
		}
	case "Digits":
		n.only("individual_digits")
		add(scanDigits(get(n, "individual_digits", false)))
	case "Split":
		p.split(pre, n, marks)
	case "Punctuation":
		n.only("behavior")
		add(p.regexStep(n, punctuation, get(n, "behavior", "Isolated"), false))
	case "Whitespace":
		add(p.regexStep(n, word+`+|[^`+word[1:len(word)-1]+`\s]+`, "Removed", true))
	case "WhitespaceSplit":
		add(p.regexStep(n, `\s`, "Removed", false))
	case "BertPreTokenizer":
		add(p.regexStep(n, `\s`, "Removed", false))
		add(p.regexStep(n, punctuation, "Isolated", false))
	case "CharDelimiterSplit":
		n.only("delimiter")
		add(p.regexStep(n, quoted(get(n, "delimiter", "")), "Removed", false))
	case "Metaspace":
		p.metaspace(pre, n)
	case "Sequence":
		n.only("pretokenizers")
		steps := n.list("pretokenizers")
		for i, step := range steps {
			p.preStep(pre, m, step, marks, last && i == len(steps)-1)
		}
	default:
		p.unsupported(n.path+".type", n.kind, "known: BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace, Punctuation, Sequence, Split, Whitespace, WhitespaceSplit")
	}
}

// word is \w of Rust's regular expressions, which Whitespace uses; Oniguruma's has all numbers.
const word = `[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]`

// punctuation is what the library counts as punctuation: Unicode's and all of ASCII's.
const punctuation = `[\p{P}$+<=>^\x60|~]`

func (p *parser) split(pre *preTokenizer, n node, marks bool) {
	n.only("pattern", "behavior", "invert")
	kind, text := n.pattern()
	behavior, invert := get(n, "behavior", ""), get(n, "invert", false)
	if kind == "String" {
		if text == " " && marks {
			return // there is nothing left to split at
		}
		text = quoted(text)
	}
	// The known patterns cover the whole text, so both behaviours give the matches.
	scan, known := scanners[text]
	if known && (behavior == "Isolated" && !invert || behavior == "Removed" && invert) {
		pre.steps = append(pre.steps, scan)
		return
	}
	pre.steps = append(pre.steps, p.regexStep(n, text, behavior, invert))
}

// regexStep splits at a pattern.
func (p *parser) regexStep(n node, pattern, behavior string, invert bool) *regexStep {
	r, err := regex.Compile(pattern)
	if err != nil {
		p.fail(n.path, "%v", err)
	}
	switch behavior {
	case "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous":
	default:
		p.unsupported(n.path+".behavior", behavior, "known: Contiguous, Isolated, MergedWithNext, MergedWithPrevious, Removed")
	}
	return &regexStep{r, behavior, invert}
}

// quoted is the pattern that matches a text literally.
func quoted(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune(`\.+*?()|[]{}^$`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (p *parser) metaspace(pre *preTokenizer, n node) {
	n.only("replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep")
	scheme := "always"
	if !get(n, "add_prefix_space", true) {
		scheme = "never"
	}
	m := &metaspaceStep{get(n, "replacement", spaceMark), get(n, "prepend_scheme", scheme), get(n, "split", true)}
	if m.mark != spaceMark {
		p.unsupported(n.path+".replacement", m.mark, "known: "+spaceMark)
	}
	if m.scheme != "always" && m.scheme != "first" && m.scheme != "never" {
		p.unsupported(n.path+".prepend_scheme", m.scheme, "known: always, first, never")
	}
	pre.steps = append(pre.steps, m)
}

// decoder reads a decoder as the steps it takes.
func (p *parser) decoder(raw json.RawMessage, path string) []decodeStep {
	n := p.object(raw, path)
	switch n.kind {
	case "ByteLevel":
		return []decodeStep{decodeByteLevel}
	case "ByteFallback":
		return []decodeStep{decodeByteFallback}
	case "Fuse":
		return []decodeStep{decodeFuse}
	case "Strip":
		n.only("content", "start", "stop")
		cut, start, stop := get(n, "content", ""), get(n, "start", 0), get(n, "stop", 0)
		if cut == "" {
			p.fail(path+".content", "empty")
			return nil
		}
		return []decodeStep{decodeStrip(cut, start, stop)}
	case "Replace":
		n.only("pattern", "content")
		kind, from := n.pattern()
		if kind != "String" || from == "" {
			p.unsupported(path+".pattern", map[string]string{kind: from}, `known: {"String": text}`)
		}
		return []decodeStep{decodeReplace(from, get(n, "content", ""))}
	case "Metaspace":
		n.only("replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep")
		prepended := get(n, "prepend_scheme", "always") != "never" && get(n, "add_prefix_space", true)
		return []decodeStep{decodeMetaspace(get(n, "replacement", spaceMark), prepended)}
	case "Sequence":
		n.only("decoders")
		var steps []decodeStep
		for i, raw := range get(n, "decoders", []json.RawMessage(nil)) {
			steps = append(steps, p.decoder(raw, path+".decoders["+strconv.Itoa(i)+"]")...)
		}
		return steps
	}
	p.unsupported(path+".type", n.kind, "known: ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip")
	return nil
}

// postItem is part of the result of EncodeSpecial: the text, or fixed ids.
type postItem struct {
	text bool
	ids  []int32
}

// postProcessor reads the tokens put around a single text; nil = none.
func (p *parser) postProcessor(raw json.RawMessage, path string) []postItem {
	n := p.object(raw, path)
	switch n.kind {
	case "ByteLevel": // only changes offsets
		return nil
	case "Sequence":
		n.only("processors")
		var items []postItem
		for i, raw := range get(n, "processors", []json.RawMessage(nil)) {
			at := path + ".processors[" + strconv.Itoa(i) + "]"
			if sub := p.postProcessor(raw, at); sub != nil {
				if items != nil {
					p.unsupported(at, "TemplateProcessing", "want one of them")
				}
				items = sub
			}
		}
		return items
	case "TemplateProcessing":
		n.only("single", "pair", "special_tokens")
		return n.singleTemplate()
	case "RobertaProcessing", "BertProcessing":
		n.only("sep", "cls", "trim_offsets", "add_prefix_space")
		return []postItem{{ids: n.pairID("cls")}, {text: true}, {ids: n.pairID("sep")}}
	}
	p.unsupported(path+".type", n.kind, "known: BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing")
	return nil
}

// pairID reads a token that is written as ["text", id].
func (n node) pairID(name string) []int32 {
	var text string
	var id int32
	pair := get(n, name, []json.RawMessage(nil))
	if len(pair) != 2 || json.Unmarshal(pair[0], &text) != nil || json.Unmarshal(pair[1], &id) != nil {
		n.p.fail(n.path+"."+name, `want ["token", id], got %s`, clip(string(n.fields[name])))
		return nil
	}
	return []int32{id}
}

func (n node) singleTemplate() []postItem {
	special := get(n, "special_tokens", map[string]struct {
		IDs []int32 `json:"ids"`
	}(nil))
	items := []postItem{}
	for _, item := range n.list("single") {
		if raw, ok := item.fields["SpecialToken"]; ok {
			token := get(n.p.object(raw, item.path+".SpecialToken"), "id", "")
			s, ok := special[token]
			if !ok {
				n.p.fail(item.path, "%q is not in special_tokens", token)
			}
			items = append(items, postItem{ids: s.IDs})
			continue
		}
		items = append(items, postItem{text: true})
	}
	return items
}
