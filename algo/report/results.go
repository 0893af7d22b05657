package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// WriteResults writes <split>_results.json and merges it into all_results.json,
// as transformers' save_metrics does.
func WriteResults(dir, split string, metrics pyjson.Object) error {
	if err := storage.WriteFile(filepath.Join(dir, split+"_results.json"), []byte(pyjson.EncodeASCII(metrics.Sorted(), 4))); err != nil {
		return err
	}
	all := pyjson.Object{}
	path := filepath.Join(dir, "all_results.json")
	raw, err := storage.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("all_results.json: %w", err)
	default:
		if all, err = pyjson.DecodeObject(raw); err != nil {
			return fmt.Errorf("%s: %w; move it away to have the run's metrics written again", path, err)
		}
	}
	for _, f := range metrics {
		all.Set(f.Key, f.Value)
	}
	return storage.WriteFile(path, []byte(pyjson.EncodeASCII(all.Sorted(), 4)))
}
