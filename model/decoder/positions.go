package decoder

import (
	"cmp"
	"errors"
	"fmt"

	"dataflex.dev/dataflex/kernels/rope"
)

// turning is how a layer's queries and keys are turned by their positions; nil: they are
// not.
type turning struct{ queries, keys *angles }

// angles are a table's.
type angles struct {
	*rope.Table
	plain bool // they depend on nothing but the position: no scaling is done
}

// rows are the batch's rows of the table.
func (a *angles) rows(b *Batch) []int32 {
	if a.plain {
		return b.Positions
	}
	return b.rows
}

// turnings makes the two ways in which layers turn: those that see everything, and those
// with a window.
func (b *builder) turnings(global, local *rope.Table) error {
	c, everywhere := &b.c, &angles{Table: global}
	if c.Latent.Rank > 0 {
		return b.latentTurning(global)
	}
	if c.Growth.Beta > 0 {
		b.growing = &angles{Table: rope.NewGrowth(c.HeadDim, c.Growth), plain: true}
	}
	b.global = turning{everywhere, everywhere}
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
		b.local = turning{near, near}
	}
	return nil
}

// latentTurning turns the last elements of a head's queries, and the keys' one head.
func (b *builder) latentTurning(global *rope.Table) error {
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
	b.global = turning{queries: &angles{Table: behind}, keys: &angles{Table: global}}
	b.local = b.global
	return nil
}

// turning is layer i's.
func (b *builder) turning(i int) turning {
	switch {
	case b.f.learned || i < len(b.c.NoRope) && b.c.NoRope[i]:
		return turning{queries: b.growing}
	case b.c.Window[i] > 0:
		return b.local
	}
	return b.global
}

// tables are the angles of layers that see everything, and of those with a window.
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

// queryTable is global for queries that grow by position.
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
