package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// convert makes the tokenizer.json of a folder that lacks one, as transformers'
// convert_slow_tokenizer.py does: from vocab.json and merges.txt, or from SentencePiece's
// tokenizer.model.
func convert(dir string, configText []byte, byModel string) ([]byte, error) {
	c := config{fields: map[string]json.RawMessage{}}
	if configText != nil {
		if err := json.Unmarshal(configText, &c.fields); err != nil {
			return nil, fmt.Errorf("tokenizer: %s: %w", filepath.Join(dir, configFile), err)
		}
	}
	class := cmp.Or(strings.TrimSuffix(c.string("tokenizer_class"), "Fast"), byModel)
	model, err := storage.ReadInput(filepath.Join(dir, "tokenizer.model"), maxFile)
	if err == nil {
		out, err := convertPieces(model, class, &c)
		if err != nil {
			err = fmt.Errorf("tokenizer: %s: %w", filepath.Join(dir, "tokenizer.model"), err)
		}
		return out, err
	}
	vocab, verr := storage.ReadInput(filepath.Join(dir, "vocab.json"), maxFile)
	merges, merr := storage.ReadInput(filepath.Join(dir, "merges.txt"), maxFile)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("tokenizer: %w", err)
	case verr == nil && merr == nil:
		return convertMerges(vocab, merges, class, &c)
	case errors.Is(verr, fs.ErrNotExist) && errors.Is(merr, fs.ErrNotExist):
		if files, _ := storage.Match(dir, "*.gguf"); len(files) > 0 {
			return nil, fmt.Errorf("tokenizer: %s has GGUF files and no tokenizer.json: name the file to read, for example %s", dir, files[0])
		}
		return nil, fmt.Errorf("tokenizer: %s has no tokenizer: no tokenizer.json, no vocab.json with merges.txt and no tokenizer.model; copy them there from the model's source", dir)
	}
	return nil, fmt.Errorf("tokenizer: %w", errors.Join(verr, merr))
}

// object is a JSON object under construction.
type object = map[string]any

var byteLevelDecoder = object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}

// convertMerges is GPT2Converter, and Qwen2Converter where the class says so.
func convertMerges(vocab, merges []byte, class string, c *config) ([]byte, error) {
	qwen := class == "Qwen2Tokenizer"
	lines := strings.Split(strings.ReplaceAll(string(merges), "\r\n", "\n"), "\n")
	if !qwen {
		// GPT2Tokenizer drops the first line and what follows the last line end.
		lines = lines[min(1, len(lines)):max(1, len(lines)-1)]
	}
	pairs := [][]string{}
	for i, line := range lines {
		if line = strings.TrimSpace(line); line == "" || qwen && i == 0 && strings.HasPrefix(line, "#version:") {
			continue
		}
		pairs = append(pairs, strings.Fields(line))
	}
	prefix := c.bool("add_prefix_space", false)
	var pre, normalizer any = object{"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true}, nil
	if qwen {
		normalizer = object{"type": "NFC"}
		pre = object{"type": "Sequence", "pretokenizers": []any{
			object{"type": "Split", "pattern": object{"Regex": cl100kHead + `\p{N}` + cl100kTail}, "behavior": "Isolated", "invert": false},
			object{"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": false},
		}}
	}
	return marshal(object{
		"version": "1.0", "added_tokens": []any{}, "normalizer": normalizer, "pre_tokenizer": pre, "decoder": byteLevelDecoder,
		"post_processor": object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
		"model":          object{"type": "BPE", "vocab": json.RawMessage(vocab), "merges": pairs},
	})
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}
