package processor

import "dataflex.dev/dataflex/data"

// PaddingMultiple is the multiple to which SFT pads a training or evaluation batch when
// do_train is on. Pre-training, and SFT without do_train, use 1.
const PaddingMultiple = 8

// PaddedLength returns the length to which upstream pads the rows of a micro-batch: the longest
// row, rounded up. Nothing is padded here; upstream counts the padding in total_flos and in the
// shapes of its logs.
func PaddedLength(rows []data.Example, multiple int) int {
	longest := 0
	for _, e := range rows {
		longest = max(longest, len(e.InputIDs))
	}
	return (longest + multiple - 1) / multiple * multiple
}
