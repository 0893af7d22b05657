package decoder

import (
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

const recurrentFolder = "testdata/recurrent_families"

// TestRecurrentFamilies: losses, every gradient and greedy continuations of the families
// with short convolutions or a gated delta rule are transformers', over more than one chunk
// of the rule; and a model that is loaded and saved has the tensors of its folder.
func TestRecurrentFamilies(t *testing.T) {
	ids, models, _ := plainRecords(t, recurrentFolder)
	for name, want := range models {
		t.Run(name, func(t *testing.T) {
			dir, out := filepath.Join(recurrentFolder, name), t.TempDir()
			m := load(t, dir, Options{})
			meanLoss(t, m, ids, want.Loss)
			plainGreedy(t, m, ids, want.Greedy)
			plainGradients(t, m, ids, want.Gradients)
			must(t, m.SaveFull(out))
			sameTensors(t, filepath.Join(out, storage.ModelFile), filepath.Join(dir, storage.ModelFile))
		})
	}
}
