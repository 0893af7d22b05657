package feature

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
)

// declaredPooling is what a model says of itself: a folder in sentence-transformers'
// 1_Pooling/config.json, a GGUF file in its pooling_type. Last where it says nothing.
func declaredPooling(model string) (Pooling, error) {
	if gguf.Is(model) {
		return ggufPooling(model)
	}
	return folderPooling(model)
}

// ggufPooling reads the value that convert_hf_to_gguf.py writes from 1_Pooling/config.json.
func ggufPooling(path string) (p Pooling, err error) {
	f, err := gguf.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	arch, _, err := gguf.Get[string](f, "general.architecture")
	if err != nil {
		return "", err
	}
	key := arch + ".pooling_type"
	kind, declared, err := gguf.Get[int](f, key)
	switch {
	case err != nil:
		return "", err
	case !declared || kind == ggufNone || kind == ggufLast:
		return Last, nil
	case kind == ggufMean:
		return Mean, nil
	}
	return "", fmt.Errorf("%s: %s is %d, which is neither mean (%d) nor last-token pooling (%d): choose one", path, key, kind, ggufMean, ggufLast)
}

// llama.cpp's enum llama_pooling_type.
const (
	ggufNone = 0
	ggufMean = 1
	ggufLast = 3
)

func folderPooling(dir string) (Pooling, error) {
	path := filepath.Join(dir, "1_Pooling", "config.json")
	raw, err := storage.ReadInput(path, 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return Last, nil
	}
	if err != nil {
		return "", err
	}
	var c struct {
		Last bool `json:"pooling_mode_lasttoken"`
		Mean bool `json:"pooling_mode_mean_tokens"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case c.Last && !c.Mean:
		return Last, nil
	case c.Mean && !c.Last:
		return Mean, nil
	}
	return "", fmt.Errorf("%s asks for neither mean nor last-token pooling alone: choose one", path)
}
