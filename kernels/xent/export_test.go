package xent

import (
	"testing"

	"dataflex.dev/dataflex/kernels/ptx"
)

// SmallBlocks has every block hold 128 rows while t runs.
func SmallBlocks(t *testing.T) {
	logits, exponentials := deviceLogits, deviceExponentials
	deviceLogits, deviceExponentials = 1, 1
	t.Cleanup(func() { deviceLogits, deviceExponentials = logits, exponentials })
}

// Mutate has t run the bf16 kernels of that capability with their PTX edited.
func Mutate(t *testing.T, capability int, edit func(string) string) {
	family, text := &bf16Family, bf16SM80
	if capability == 90 {
		family, text = &hopperFamily, bf16SM90a
	}
	whole := *family
	*family = ptx.New("mutant", edit(text))
	t.Cleanup(func() { *family = whole })
}
