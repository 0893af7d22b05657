// Package dataset reads the datasets of a LLaMA-Factory dataset_dir: what
// dataset_info.json says about a name, the rows of its files, and their alignment
// into prompt, response, system and tools.
//
// Every sample knows its dataset and row; that stays true through sampling, mixing
// and splitting. Sources: LLaMA-Factory 0.9.4 data/{parser,loader,converter,
// data_utils}.py and Hugging Face datasets (interleave_datasets, train_test_split).
package dataset

import (
	"errors"
	"fmt"
)

// DefaultDir is the dataset_dir of a configuration that names none.
const DefaultDir = "data"

// Check refuses what no dataset can be loaded with: no name, or a max_samples below 0.
func Check(names []string, maxSamples int) error {
	if len(names) == 0 {
		return errors.New("no dataset is named: set `dataset`")
	}
	if maxSamples < 0 {
		return fmt.Errorf("max_samples is %d; it must be at least 1", maxSamples)
	}
	return nil
}
