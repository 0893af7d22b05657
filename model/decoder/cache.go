package decoder

import (
	"dataflex/kernels/attention"
	"dataflex/model/autograd"
)

// Cache is the keys and values of tokens that were seen.
type Cache struct{}

// attend records attention; without a cache, among the batch's tokens.
func (c *Cache) attend(t *autograd.Tape, layer int, p attention.Params, q, k, v *autograd.Value) *autograd.Value {
	return t.Attention(p, q, k, v)
}
