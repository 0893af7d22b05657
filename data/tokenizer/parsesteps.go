package tokenizer

import (
	"encoding/json"
	"strconv"

	"golang.org/x/text/unicode/norm"
)

// normalizer reads a normalizer; marks says that it turns every space into ▁.
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
	case "Replace":
		n.only("pattern", "content")
		kind, from := n.pattern()
		if kind != "String" || from == "" {
			p.unsupported(path+".pattern", map[string]string{kind: from}, `known: {"String": text}`)
		}
		to := get(n, "content", "")
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
	p.unsupported(path+".type", n.kind, "known: NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence")
	return nil, false
}

// preTokenizer reads the pre-tokenizer; marks says that the text it gets has no
// spaces left.
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
		if p.err != nil {
			return
		}
		if m.byteLevel {
			p.unsupported(step.path, step.kind, "nothing can follow ByteLevel")
			return
		}
		switch step.kind {
		case "ByteLevel":
			step.only("add_prefix_space", "trim_offsets", "use_regex")
			m.byteLevel = true
			pre.prefixSpace = get(step, "add_prefix_space", true)
			if pre.prefixSpace && i > 0 {
				p.unsupported(step.path+".add_prefix_space", true, "want false after another step")
			}
			if get(step, "use_regex", true) {
				pre.scanners = append(pre.scanners, scanGPT2)
			}
		case "Digits":
			step.only("individual_digits")
			pre.scanners = append(pre.scanners, scanDigits(get(step, "individual_digits", false)))
		case "Split":
			p.split(pre, step, marks)
		case "Metaspace":
			p.metaspace(pre, step, len(steps))
		default:
			p.unsupported(step.path+".type", step.kind, "known: ByteLevel, Digits, Metaspace, Sequence, Split")
		}
	}
	if len(pre.scanners) > 0 && !m.byteLevel {
		p.unsupported("pre_tokenizer", n.kind, "want ByteLevel as the last step")
	}
}

func (p *parser) split(pre *preTokenizer, n node, marks bool) {
	n.only("pattern", "behavior", "invert")
	kind, text := n.pattern()
	behavior, invert := get(n, "behavior", ""), get(n, "invert", false)
	if kind == "String" && text == " " && marks {
		return // there is nothing left to split at
	}
	scan, ok := scanners[text]
	if kind != "Regex" || !ok {
		p.unsupported(n.path+".pattern."+kind, text, "known: the patterns of GPT-2, Llama 3, Qwen 2 and cl100k")
		return
	}
	// The patterns leave nothing between their matches, so both give the matches.
	if !(behavior == "Isolated" && !invert || behavior == "Removed" && invert) {
		p.unsupported(n.path+".behavior", behavior, `known: "Isolated", or "Removed" with invert`)
	}
	pre.scanners = append(pre.scanners, scan)
}

func (p *parser) metaspace(pre *preTokenizer, n node, steps int) {
	n.only("replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep")
	scheme := "always"
	if !get(n, "add_prefix_space", true) {
		scheme = "never"
	}
	m := &metaspace{get(n, "replacement", spaceMark), get(n, "prepend_scheme", scheme), get(n, "split", true)}
	if m.mark != spaceMark {
		p.unsupported(n.path+".replacement", m.mark, "known: "+spaceMark)
	}
	if m.scheme != "always" && m.scheme != "first" && m.scheme != "never" {
		p.unsupported(n.path+".prepend_scheme", m.scheme, "known: always, first, never")
	}
	if steps > 1 {
		p.unsupported(n.path, "Metaspace", "want it alone")
	}
	pre.metaspace = m
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

// postItem is part of what EncodeSpecial returns: the text, or fixed ids.
type postItem struct {
	text bool
	ids  []int32
}

// postProcessor reads what is put around a single text; nil = nothing.
func (p *parser) postProcessor(raw json.RawMessage, path string) []postItem {
	n := p.object(raw, path)
	switch n.kind {
	case "ByteLevel": // moves offsets only
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
	}
	p.unsupported(path+".type", n.kind, "known: ByteLevel, Sequence, TemplateProcessing")
	return nil
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
