package decoder

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// shardBytes is transformers' default shard size.
const shardBytes = 5_000_000_000

// SaveAdapter writes adapter_config.json and adapter_model.safetensors into dir, which must
// exist, as PEFT does.
func (m *Model) SaveAdapter(dir string) error {
	if m.adapter == nil {
		return fmt.Errorf("saving an adapter to %s: the model has none", dir)
	}
	if err := m.Continues(); err != nil {
		return fmt.Errorf("saving an adapter to %s: %w", dir, err)
	}
	var tensors []checkpoint.Tensor
	for _, p := range m.adapterParams() {
		list, err := m.laidOut(p, m.adapterName(p))
		if err != nil {
			return err
		}
		tensors = append(tensors, list...)
		if t := list[0]; p == m.embed && m.tied() { // PEFT stores the embeddings of a tied head under the head's name
			t.Name = prefix + m.headName()
			tensors = append(tensors, t)
		}
	}
	c := m.toPEFT()
	more, err := m.extraTensors(c)
	if err != nil {
		return err
	}
	tensors = append(append(tensors, more...), m.adapter.towers...)
	if err := checkpoint.WriteSafetensors(adapterFile(dir), map[string]string{"format": "pt"}, tensors); err != nil {
		return err
	}
	return checkpoint.WriteAdapterConfig(dir, c)
}

// ReadTrained reads the values of every trainable parameter from a folder that SaveAdapter or
// SaveFull wrote. That model must have trained the same parameters.
func (m *Model) ReadTrained(dir string) error {
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, p := range m.Trainable() {
		name := p.Name
		if m.adapter != nil {
			name = m.adapterName(p)
		}
		if err := p.Write(m.dev, m.source(p, w, name).Float32); err != nil {
			return err
		}
	}
	return nil
}

// SaveFull writes the weights without adapters into dir, which must exist, as transformers
// does: float32, in shards if they exceed 5 GB, with config.json and generation_config.json. A
// tied head is not stored.
func (m *Model) SaveFull(dir string) error {
	if m.Quantised() {
		return fmt.Errorf("saving a model to %s: quantised weights are not written, as adapters alone train on them", dir)
	}
	var tensors []checkpoint.Tensor
	for _, p := range m.base() {
		list, err := m.laidOut(p, p.Name)
		if err != nil {
			return err
		}
		tensors = append(tensors, list...)
	}
	write := func() error { return writeShards(dir, tensors, shardBytes) }
	if m.config.Multimodal != nil {
		write = func() error { return m.writeMultimodal(dir, tensors) }
	}
	if err := write(); err != nil {
		return err
	}
	return m.saveConfig(dir)
}

// writeShards writes tensors in order into files of up to limit bytes each.
func writeShards(dir string, tensors []checkpoint.Tensor, limit int) error {
	metadata := map[string]string{"format": "pt"}
	var shards [][]checkpoint.Tensor
	size, total := limit, 0
	for _, t := range tensors {
		n := t.Bytes()
		if size+n > limit {
			shards, size = append(shards, nil), 0
		}
		last := len(shards) - 1
		shards[last] = append(shards[last], t)
		size, total = size+n, total+n
	}
	if len(shards) == 1 {
		return checkpoint.WriteSafetensors(filepath.Join(dir, storage.ModelFile), metadata, tensors)
	}
	index := struct {
		Metadata  map[string]int    `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{map[string]int{"total_size": total}, map[string]string{}}
	for i, shard := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := checkpoint.WriteSafetensors(filepath.Join(dir, name), metadata, shard); err != nil {
			return err
		}
		for _, t := range shard {
			index.WeightMap[t.Name] = name
		}
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return fmt.Errorf("index of %s: %w", dir, err)
	}
	return storage.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), append(text, '\n'))
}

// saveConfig writes the model's config.json and generation_config.json as transformers does
// after training.
func (m *Model) saveConfig(dir string) error {
	c, err := m.current()
	if err != nil {
		return err
	}
	g, err := checkpoint.ReadGenerationConfig(m.dir)
	if err != nil {
		return err
	}
	if err := checkpoint.MoveGeneration(c, g); err != nil {
		return err
	}
	if m.special != nil {
		checkpoint.AlignTokens(c, g, *m.special)
	}
	if err := checkpoint.WriteModelConfig(dir, c, "float32"); err != nil {
		return err
	}
	return checkpoint.WriteGenerationConfig(dir, g)
}

func adapterFile(dir string) string { return filepath.Join(dir, storage.AdapterFile) }

// stored returns p as a tensor to be written, reading p's memory. It is for parameters that
// files store in the same layout.
func (m *Model) stored(p *tensor.Param) (checkpoint.Tensor, error) {
	x, err := p.Read(m.dev)
	if err != nil {
		return checkpoint.Tensor{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	return checkpoint.Tensor{Name: p.Name, Shape: p.Shape, F32: x}, nil
}

// laidOut returns p under name, in the layout in which files store it.
func (m *Model) laidOut(p *tensor.Param, name string) ([]checkpoint.Tensor, error) {
	t, err := m.stored(p)
	if err != nil {
		return nil, err
	}
	return m.layouts[p].split(name, p.Shape, t.F32), nil
}
