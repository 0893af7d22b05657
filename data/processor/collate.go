package processor

import "dataflex.dev/dataflex/data"

// PaddingMultiple is what SFT pads a training or evaluation batch to a multiple of
// when do_train is on. Pre-training, and SFT without do_train, use 1.
const PaddingMultiple = 8

// PaddedLength returns the length to which the rows of a micro-batch are padded: the
// longest row, rounded up. Nothing here needs the padding itself; upstream counts it
// in total_flos and in the shapes of its logs.
func PaddedLength(rows []data.Example, multiple int) int {
	longest := 0
	for _, e := range rows {
		longest = max(longest, len(e.InputIDs))
	}
	return (longest + multiple - 1) / multiple * multiple
}
