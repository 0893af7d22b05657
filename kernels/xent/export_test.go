package xent

import "testing"

// SmallBlocks limits every block to 128 rows while t runs.
func SmallBlocks(t *testing.T) {
	logits, exponentials := deviceLogits, deviceExponentials
	deviceLogits, deviceExponentials = 1, 1
	t.Cleanup(func() { deviceLogits, deviceExponentials = logits, exponentials })
}

// Mutate makes t run the bf16 kernels of that capability with their PTX edited.
func Mutate(t *testing.T, capability int, edit func(string) string) {
	family := bf16Family
	if capability == 90 {
		family = hopperFamily
	}
	t.Cleanup(family.Replace(edit(family.Text())))
}
