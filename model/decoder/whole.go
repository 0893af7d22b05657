package decoder

import (
	"fmt"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// How the language model of a multimodal folder handles the rest of it: towers, their part
// of an adapter, the files for images. They are not used in any computation, and written as
// they were read.

// writeWhole writes the language model's tensors under the names of the folder from which it
// was read, and the towers' unchanged.
func (m *Model) writeWhole(dir string, tensors []checkpoint.Tensor) (err error) {
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

// ofWhole renames an adapter's tensors and targets as transformers 5 names the whole model's
// modules, whichever version wrote them, and returns the tensors that belong to its towers.
func (m *Model) ofWhole(c *checkpoint.AdapterConfig, w *checkpoint.Weights) ([]checkpoint.Tensor, error) {
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
	beside := w.Beside()
	for i := range beside {
		beside[i].Raw = slices.Clone(beside[i].Raw) // the file is closed before they are written
	}
	if len(beside) > 0 {
		m.notes = append(m.notes, fmt.Sprintf("the adapter is on the towers, too (%q and %d more tensors): that part is kept as it is", beside[0].Name, len(beside)-1))
	}
	return beside, nil
}
