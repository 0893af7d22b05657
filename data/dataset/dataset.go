// Package dataset reads the datasets of a LLaMA-Factory dataset_dir: the entry of a name in
// dataset_info.json, the rows of its files, and their alignment into prompt, response, system
// and tools.
//
// Every sample carries its dataset and row through sampling, mixing and splitting. Sources:
// LLaMA-Factory 0.9.4 data/{parser,loader,converter, data_utils}.py and Hugging Face datasets
// (interleave_datasets, train_test_split).
package dataset

import (
	"errors"
	"fmt"
)

// DefaultDir is the dataset_dir of a configuration without one.
const DefaultDir = "data"

// Check refuses options with which no dataset can be loaded: no name, or a max_samples below 0.
func Check(names []string, maxSamples int) error {
	if len(names) == 0 {
		return errors.New("no dataset is named: set `dataset`")
	}
	if maxSamples < 0 {
		return fmt.Errorf("max_samples is %d; it must be at least 1", maxSamples)
	}
	return nil
}
