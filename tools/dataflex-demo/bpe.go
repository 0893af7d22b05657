package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// specials are the tokens of the chatml template, after the vocabulary of bytes
// and merges.
var specials = []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>"}

// trainBPE learns byte-level merges (Sennrich et al., 2016) from texts until the vocabulary has
// size entries: the most frequent pair first, the alphabetically first of equals.
func trainBPE(texts []string, size int) (vocab []string, merges [][2]string) {
	words := map[string]int{}
	pieces := regexp.MustCompile(` ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+`)
	for _, t := range texts {
		for _, w := range pieces.FindAllString(t, -1) {
			words[w]++
		}
	}
	type entry struct {
		symbols []string
		count   int
	}
	var corpus []entry
	for _, w := range slices.Sorted(maps.Keys(words)) {
		e := entry{count: words[w]}
		for i := range len(w) {
			e.symbols = append(e.symbols, byteSymbol(w[i]))
		}
		corpus = append(corpus, e)
	}
	for b := range 256 {
		vocab = append(vocab, byteSymbol(byte(b)))
	}
	slices.Sort(vocab)
	for len(vocab) < size {
		pairs := map[[2]string]int{}
		for _, e := range corpus {
			for i := range len(e.symbols) - 1 {
				pairs[[2]string{e.symbols[i], e.symbols[i+1]}] += e.count
			}
		}
		best, most := [2]string{}, 0
		for p, n := range pairs {
			if n > most || n == most && strings.Join(p[:], " ") < strings.Join(best[:], " ") {
				best, most = p, n
			}
		}
		if most < 2 {
			break
		}
		merges, vocab = append(merges, best), append(vocab, best[0]+best[1])
		for i := range corpus {
			corpus[i].symbols = merged(corpus[i].symbols, best)
		}
	}
	return vocab, merges
}

func merged(s []string, pair [2]string) []string {
	var out []string
	for i := 0; i < len(s); i++ {
		if i+1 < len(s) && s[i] == pair[0] && s[i+1] == pair[1] {
			out = append(out, pair[0]+pair[1])
			i++
			continue
		}
		out = append(out, s[i])
	}
	return out
}

// byteSymbol is GPT-2's printable stand-in for a byte: itself where it is
// printable Latin-1, else the next code point from 256 on.
func byteSymbol(b byte) string {
	next := rune(256)
	for c := range 256 {
		printable := c >= '!' && c <= '~' || c >= 0xa1 && c <= 0xac || c >= 0xae
		switch {
		case byte(c) == b && printable:
			return string(rune(c))
		case byte(c) == b:
			return string(next)
		case !printable:
			next++
		}
	}
	panic("unreachable: every byte is below 256")
}

// writeTokenizer writes tokenizer.json and tokenizer_config.json.
func writeTokenizer(dir string, vocab []string, merges [][2]string) error {
	ids := map[string]int{}
	for i, v := range vocab {
		ids[v] = i
	}
	type m = map[string]any
	var added []m
	decoder := m{}
	for i, s := range specials {
		id := len(vocab) + i
		flags := m{"content": s, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true}
		decoder[fmt.Sprint(id)] = flags
		entry := maps.Clone(flags)
		entry["id"] = id
		added = append(added, entry)
	}
	byteLevel := m{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	file := m{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": nil,
		"pre_tokenizer": byteLevel, "post_processor": nil, "decoder": byteLevel,
		"model": m{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": ids, "merges": merges,
		},
	}
	config := m{
		"add_bos_token": false, "added_tokens_decoder": decoder, "clean_up_tokenization_spaces": false,
		"eos_token": specials[0], "pad_token": specials[0], "model_max_length": 256, "tokenizer_class": "PreTrainedTokenizerFast",
	}
	for name, v := range map[string]any{"tokenizer.json": file, "tokenizer_config.json": config} {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := storage.WriteFile(filepath.Join(dir, name), append(raw, '\n')); err != nil {
			return err
		}
	}
	return nil
}
