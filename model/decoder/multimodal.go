package decoder

import (
	"fmt"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// The decoder is only the language model of a multimodal folder. The rest of it (the towers,
// their part of an adapter, the files for images) is not computed, and is written as it was
// read.

// writeMultimodal writes the language model's tensors under the folder's own names, and the towers'
// tensors unchanged.
func (m *Model) writeMultimodal(dir string, tensors []checkpoint.Tensor) (err error) {
	if m.unmerged != "" {
		return fmt.Errorf("saving a model to %s: the adapter in %s, which was merged into the language model, is on the towers as well, and that part is not merged here: merge it with PEFT first (merge_and_unload)", dir, m.unmerged)
	}
	w, err := checkpoint.OpenWeights(m.dir)
	if err != nil {
		return err
	}
	defer w.Close()
	for i := range tensors {
		tensors[i].Name = w.Stored(m.config.Multimodal, tensors[i].Name)
	}
	if err := writeShards(dir, append(tensors, w.Beside()...), shardBytes); err != nil {
		return err
	}
	files, err := checkpoint.ProcessorFiles(m.dir)
	for name, text := range files {
		if err == nil {
			err = storage.WriteFile(filepath.Join(dir, name), text)
		}
	}
	return err
}

// adapterOfMultimodal renames an adapter's tensors and targets to the module names of transformers 5,
// whichever version wrote them, and returns the tensors that belong to the towers.
func (m *Model) adapterOfMultimodal(c *checkpoint.AdapterConfig, w *checkpoint.Weights) ([]checkpoint.Tensor, error) {
	whole := m.config.Multimodal
	if whole == nil {
		return nil, nil
	}
	for i, t := range c.Targets {
		c.Targets[i], _ = whole.Module(t)
	}
	if err := w.LanguageModel(whole, prefix); err != nil {
		return nil, err
	}
	towers := w.Beside()
	for i := range towers {
		towers[i].Raw = slices.Clone(towers[i].Raw) // copied, because the file is closed before they are written
	}
	if len(towers) > 0 {
		m.notes = append(m.notes, fmt.Sprintf("the adapter is on the towers, too (%q and %d more tensors): that part is kept as it is", towers[0].Name, len(towers)-1))
	}
	return towers, nil
}
