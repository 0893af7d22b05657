package decoder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// origin records how the model was made, in order. Every entry is hashed into Identity.
type origin struct {
	made  []string // facts that can no longer change
	dir   string   // the base's folder, hashed when first needed
	marks string   // of the folder's files before they were read
	base  string   // its hash; "" before
}

// from notes the folder whose weights are about to be read. A folder that cannot be read has no
// marks: hash reports it, as do those who read it.
func (o *origin) from(dir string) {
	o.dir = dir
	o.marks, _ = checkpoint.Marks(dir)
}

// hash returns the content hash of what the base was made from, if that is still what was read.
func (o *origin) hash() (string, error) {
	if slices.Contains(o.made, drawn) && !gguf.Is(o.dir) {
		return checkpoint.Content(filepath.Join(o.dir, storage.ConfigFile))
	}
	h, err := checkpoint.Content(o.dir)
	if err != nil {
		return "", err
	}
	if now, err := checkpoint.Marks(o.dir); err != nil || now != o.marks {
		return "", errors.Join(fmt.Errorf("%s was changed or replaced after it was read: start again when nothing writes to it", o.dir), err)
	}
	return h, nil
}

// note adds a fact that the model's results depend on.
func (o *origin) note(format string, args ...any) {
	o.made = append(o.made, fmt.Sprintf(format, args...))
}

// Base returns a content hash of the weights from which the model was loaded: of the folder's
// config.json and safetensors files or, for a model made by Init, of config.json only. The
// files are read at the first call.
func (m *Model) Base() (string, error) {
	if m.origin.base == "" {
		h, err := m.origin.hash()
		if err != nil {
			return "", fmt.Errorf("identity of the model: %w", err)
		}
		m.origin.base = h
	}
	return m.origin.base, nil
}

// Identity returns a content hash of the function that the model computes, apart from the
// values of trained parameters: it covers the base's weights, the options with which it was
// loaded, merged adapters, the vocabulary, the adapter's shape, scale and dropout, and which
// tensors are trained. Two models with the same identity and equal trained parameters (and the
// same seed, if weights were drawn at random) compute the same numbers on the same device.
func (m *Model) Identity() (string, error) {
	base, err := m.Base()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "base %s\n%s\n", base, strings.Join(m.origin.made, "\n"))
	config, err := json.Marshal(m.config)
	if err != nil {
		return "", fmt.Errorf("identity of the model: %w", err)
	}
	fmt.Fprintf(h, "config %s bf16 %v\n", config, m.half)
	if f := m.options.Quantise; f != nil {
		fmt.Fprintf(h, "quantised %v, blocks of %d, double %v\n", f.Kind, f.Block, f.Double)
	}
	if a := m.adapter; a != nil {
		fmt.Fprintf(h, "dora %v pissa %v\n", a.lora.DoRA, a.start != nil)
		for _, mod := range a.modules {
			fmt.Fprintf(h, "%s scale %v dropout %v\n", mod.path, mod.linear.LoRA.Scale, mod.linear.LoRA.Dropout)
		}
		if e := m.embedding.LoRA; e != nil {
			fmt.Fprintf(h, "%s scale %v\n", m.tables().Embedding, e.Scale)
		}
		for _, t := range a.tokens {
			fmt.Fprintf(h, "tokens of %s %v\n", t.table.Name, t.tokens.Index)
		}
	}
	for _, p := range m.Trainable() {
		fmt.Fprintf(h, "trains %s %v\n", p.Name, p.Shape)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// drawn is the note of a model with randomly initialised weights.
const drawn = "weights drawn"

// Merged describes what was done to the base's weights before training: merged or continued
// adapters, a larger vocabulary. "" means nothing.
func (m *Model) Merged() string {
	made := m.origin.made
	if m.adapter != nil && m.adapter.content != "" {
		made = append(slices.Clip(made), "adapter "+m.adapter.content)
	}
	return strings.Join(made, "; ")
}
