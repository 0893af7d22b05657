package decoder

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// Cache holds the state that layers keep of sequences during generation, one sequence per
// slot: attention layers keep keys and values, recurrent ones their state. A sequence's
// logits have the same bits whatever is in the other slots.
type Cache struct {
	m        *Model
	capacity int               // maximum tokens per sequence
	memory   []driver.Memory   // allocations behind stores
	stores   [][]driver.F32    // per layer, the buffers of its token mixer: [slots, …] each
	tokens   [][]int32         // per slot, the cached tokens
	rows     []int32           // where the pass's tokens go in the cache
	slots    []int32           // of the sequences in this pass
	step     *attention.Cached // decoding one token per sequence; nil while prompts are processed
}

// NewCache allocates a cache for that many sequences of up to capacity tokens. The model
// must not change while the cache is in use.
func (m *Model) NewCache(slots, capacity int) (*Cache, error) {
	c := &Cache{m: m, capacity: capacity, tokens: make([][]int32, slots)}
	for i := range m.layers {
		var stores []driver.F32
		for _, size := range m.layers[i].mixer.keeps(capacity) {
			store, err := c.storage(slots * size)
			if err != nil {
				c.Close()
				return nil, fmt.Errorf("a cache of %d sequences of %d tokens: %w", slots, capacity, err)
			}
			stores = append(stores, store)
		}
		c.stores = append(c.stores, stores)
	}
	return c, nil
}

// Close frees the cache.
func (c *Cache) Close() {
	for _, mem := range c.memory {
		c.m.dev.Free(mem)
	}
	c.memory, c.stores = nil, nil
}

// Prefill runs prompts, which replace the contents of slots, and returns the logits
// [len(slots), Vocab] after their last tokens. The memory is valid until the model's next
// call.
func (c *Cache) Prefill(slots []int, prompts [][]int32) ([]float32, error) {
	for i, p := range prompts {
		if len(p) == 0 || len(p) > c.capacity {
			return nil, fmt.Errorf("a prompt of %d tokens: want 1 to %d", len(p), c.capacity)
		}
		c.tokens[slots[i]] = append(c.tokens[slots[i]][:0], p...)
	}
	return c.each(slots, c.prompts)
}

// Step appends one token to each of slots and returns the logits as Prefill does. Where a
// new length changes the rotary angles (dynamic scaling), the sequence is recomputed.
func (c *Cache) Step(slots []int, tokens []int32) ([]float32, error) {
	anew := make(map[int]bool)
	for i, s := range slots {
		n := len(c.tokens[s])
		if n == 0 || n == c.capacity {
			return nil, fmt.Errorf("a step after %d tokens: want 1 to %d", n, c.capacity-1)
		}
		c.tokens[s] = append(c.tokens[s], tokens[i])
		if !c.m.rope.Same(n, n+1) {
			anew[s] = true
		}
	}
	if len(anew) == 0 {
		return c.each(slots, c.next)
	}
	return apart(slots, func(slot []int) ([]float32, error) {
		if anew[slot[0]] {
			return c.prompts(slot)
		}
		return c.next(slot)
	})
}

// each runs one pass over all slots, or one per slot where the rotary angles depend on the
// length of the batch.
func (c *Cache) each(slots []int, pass func([]int) ([]float32, error)) ([]float32, error) {
	if c.m.rope.Fixed() || len(slots) == 1 {
		return pass(slots)
	}
	return apart(slots, pass)
}

// apart runs one pass per slot.
func apart(slots []int, pass func([]int) ([]float32, error)) ([]float32, error) {
	var all []float32
	for i := range slots {
		z, err := pass(slots[i : i+1])
		if err != nil {
			return nil, err
		}
		all = append(all, z...)
	}
	return all, nil
}

// prompts runs all tokens of slots.
func (c *Cache) prompts(slots []int) ([]float32, error) {
	b := Batch{Segments: []int32{0}}
	var last []int32
	c.rows, c.slots, c.step = c.rows[:0], c.slots[:0], nil
	for _, s := range slots {
		c.slots = append(c.slots, int32(s))
		b.Tokens = append(b.Tokens, c.tokens[s]...)
		b.Segments = append(b.Segments, int32(len(b.Tokens)))
		last = append(last, int32(len(b.Tokens)-1))
		for j := range c.tokens[s] {
			c.rows = append(c.rows, int32(s*c.capacity+j))
		}
	}
	return c.run(b, last)
}

// next runs the last token of each of slots; the others are cached.
func (c *Cache) next(slots []int) ([]float32, error) {
	b := Batch{Segments: []int32{0}}
	var last []int32
	c.rows, c.slots, c.step = c.rows[:0], c.slots[:0], &attention.Cached{Capacity: c.capacity}
	for i, s := range slots {
		c.slots = append(c.slots, int32(s))
		n := len(c.tokens[s])
		b.Tokens = append(b.Tokens, c.tokens[s][n-1])
		b.Positions = append(b.Positions, int32(n-1))
		b.Segments = append(b.Segments, int32(i+1))
		last = append(last, int32(i))
		c.rows = append(c.rows, int32(s*c.capacity+n-1))
		c.step.Slot, c.step.Length = append(c.step.Slot, int32(s)), append(c.step.Length, int32(n))
	}
	return c.run(b, last)
}

// run runs one pass and returns the logits of the last rows.
func (c *Cache) run(b Batch, last []int32) (logits []float32, err error) {
	err = c.m.pass(false, false, func() (err error) { logits, err = c.through(b, last); return err })
	return logits, err
}

func (c *Cache) through(b Batch, last []int32) ([]float32, error) {
	m := c.m
	b.Targets = make([]int32, len(b.Tokens))
	if err := m.check(&b, Objective{}); err != nil {
		return nil, err
	}
	t := m.tape
	t.Begin(autograd.Mode{Segments: b.Segments})
	h := t.Rows(m.stack(&b, m.config.Layers, c), last)
	m.enter(m.Sections() - 1)
	h = m.final(h)
	z := t.Scratch(len(last) * m.config.Vocab)
	t.Logits(m.headParams(len(last), 0), h, &m.head, z)
	if err := t.Err(); err != nil {
		return nil, err
	}
	return driver.Read(m.dev, z)
}

// attend records attention: among the batch's tokens, whose keys and values are stored if
// there is a cache, or from one new token per sequence to the cached ones. With chunked
// attention a token only sees its own chunk of that many tokens; 0 = no chunks.
func (c *Cache) attend(t *autograd.Tape, layer int, p attention.Params, chunkSize int, sinks *tensor.Param, q, k, v *autograd.Value) *autograd.Value {
	if c == nil || t.Err() != nil {
		return t.SinkAttention(p, sinks, q, k, v)
	}
	keys, values := c.stores[layer][0], c.stores[layer][1]
	capacity, rows := wholeChunks(c.capacity, chunkSize), c.rows
	if capacity != c.capacity {
		rows = make([]int32, len(c.rows))
		for i, r := range c.rows {
			slot, at := int(r)/c.capacity, int(r)%c.capacity
			rows[i] = int32(slot*capacity + at)
		}
	}
	attention.Store(c.m.dev, k.Data(), rows, keys, k.Cols)
	attention.Store(c.m.dev, v.Data(), rows, values, v.Cols)
	return c.attendStored(t, layer, p, chunkSize, sinks, q, k, v)
}

// attendStored records attention to the keys and values that another layer stored in this pass.
func (c *Cache) attendStored(t *autograd.Tape, layer int, p attention.Params, chunkSize int, sinks *tensor.Param, q, k, v *autograd.Value) *autograd.Value {
	if c == nil || t.Err() != nil || c.step == nil {
		return t.SinkAttention(p, sinks, q, k, v)
	}
	step := chunkSlots(*c.step, wholeChunks(c.capacity, chunkSize), chunkSize)
	if step.Params = p; sinks != nil {
		step.Sinks = sinks.Data
	}
	return t.CachedAttention(step, q, c.stores[layer][0], c.stores[layer][1])
}

// wholeChunks is capacity rounded up to whole chunks of that many tokens; 0 = no chunks.
func wholeChunks(capacity, chunkSize int) int {
	if chunkSize == 0 {
		return capacity
	}
	return (capacity + chunkSize - 1) / chunkSize * chunkSize
}

// chunkSlots is a decoding step with chunked attention: each chunk of a sequence, of which the
// cache has capacity tokens in whole chunks, counts as a slot.
func chunkSlots(step attention.Cached, capacity, chunkSize int) attention.Cached {
	if chunkSize == 0 {
		return step
	}
	whole := step
	step.Capacity, step.Slot, step.Length = chunkSize, make([]int32, len(whole.Slot)), make([]int32, len(whole.Slot))
	for i, n := range whole.Length {
		at := int(n-1) / chunkSize
		step.Slot[i], step.Length[i] = int32(int(whole.Slot[i])*capacity/chunkSize+at), n-int32(at*chunkSize)
	}
	return step
}
