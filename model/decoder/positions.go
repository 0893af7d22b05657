package decoder

import (
	"cmp"
	"errors"
	"fmt"

	"dataflex.dev/dataflex/kernels/rope"
)

// rotary holds the rotary embeddings of a layer's queries and keys; nil: none.
type rotary struct{ queries, keys *angles }

// angles is a table of rotary angles.
type angles struct {
	*rope.Table
	plain bool // no scaling: the angles depend on the position only
}

// rows returns the table's row for each of the batch's tokens.
func (a *angles) rows(b *Batch) []int32 {
	if a.plain {
		return b.Positions
	}
	return b.rows
}

// rotaries builds the rotary embeddings of layers with full attention and of those with a
// sliding window.
func (b *builder) rotaries(global, local *rope.Table) error {
	c, everywhere := &b.c, &angles{Table: global}
	if c.Latent.Rank > 0 {
		return b.latentRotary(global)
	}
	if c.Growth.Beta > 0 {
		b.growing = &angles{Table: rope.NewGrowth(c.HeadDim, c.Growth), plain: true}
	}
	b.global = rotary{everywhere, everywhere}
	if c.QueryGrowth.Beta > 0 {
		grown, err := queryTable(*c, global)
		if err != nil {
			return err
		}
		b.global.queries = &angles{Table: grown}
	}
	b.local = b.global
	if local != global {
		near := &angles{Table: local, plain: true}
		b.local = rotary{near, near}
	}
	return nil
}

// latentRotary builds those of latent attention, which rotates the last elements of every
// head's query, and the key part shared by all heads.
func (b *builder) latentRotary(global *rope.Table) error {
	c := &b.c
	if !global.Fixed() {
		return fmt.Errorf("rope_type %s is not supported for model_type %q", c.Rope.Type, c.ModelType)
	}
	behind, err := rope.NewTable(c.rotary(), c.RopeTheta, c.Rope, c.MaxPositions)
	if err != nil {
		return err
	}
	global.Interleaved = !c.Latent.Halves
	behind.Interleaved, behind.Offset = global.Interleaved, c.Latent.PlainDim
	b.global = rotary{queries: &angles{Table: behind}, keys: &angles{Table: global}}
	b.local = b.global
	return nil
}

// rotaryOf returns the rotary embedding of layer i.
func (b *builder) rotaryOf(i int) rotary {
	switch {
	case b.f.learned || i < len(b.c.NoRope) && b.c.NoRope[i]:
		return rotary{queries: b.growing}
	case b.c.Window[i] > 0:
		return b.local
	}
	return b.global
}

// tables returns the angles of layers with full attention, and of those with a sliding window.
func tables(c Config) (global, local *rope.Table, err error) {
	if global, err = rope.NewTable(c.rotary(), c.RopeTheta, c.Rope, c.MaxPositions); err != nil {
		return nil, nil, err
	}
	local = global
	if c.RopeLocalBase > 0 {
		local, err = rope.NewTable(cmp.Or(c.LocalRotary, c.rotary()), c.RopeLocalBase, rope.Scaling{}, c.MaxPositions)
	}
	global.Interleaved, global.Backwards = families[c.ModelType].interleaved, families[c.ModelType].backwards
	return global, local, err
}

// queryTable returns the table of full attention for queries that are scaled up with the
// position (llama_4_scaling_beta).
func queryTable(c Config, global *rope.Table) (*rope.Table, error) {
	if c.rotary() != c.HeadDim {
		return nil, errors.New("llama_4_scaling_beta with a partial_rotary_factor below 1 is not supported")
	}
	if !global.Fixed() {
		return nil, fmt.Errorf("llama_4_scaling_beta with rope_type %s is not supported", c.Rope.Type)
	}
	t, err := rope.NewTable(c.rotary(), c.RopeTheta, c.Rope, c.MaxPositions)
	if err == nil {
		t.Interleaved, t.Backwards, t.Growth = global.Interleaved, global.Backwards, c.QueryGrowth
	}
	return t, err
}
