package config

import (
	"slices"
	"testing"
)

// Names of other trainers lead to keys that are there, and are none themselves; --model was taken
// for --mode.
func TestSuggest(t *testing.T) {
	for name, key := range elsewhere {
		if !slices.Contains(names, key) || slices.Contains(names, name) {
			t.Errorf("%s leads to %s", name, key)
		}
	}
	for name, want := range map[string]string{"model": "model_name_or_path", "batch-size": "per_device_train_batch_size", "learning_rat": "learning_rate"} {
		if got, _ := Suggest(name, names); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
