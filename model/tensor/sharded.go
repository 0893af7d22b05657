package tensor

import "dataflex.dev/dataflex/driver"

// WeightStore provides the numbers of a parameter whose memory is shared with other parameters.
// Of a sharded weight every process keeps a part, and the whole weight is in memory only while
// it is used.
type WeightStore interface {
	// Fetch writes the numbers to the parameter's memory, unless they are there.
	Fetch() error
	// Keep stores what was written to the parameter's memory.
	Keep() error
}

// Needs returns the size of p's numbers in p's form, in bytes.
func (p *Param) Needs() int {
	if p.weight == nil {
		return 0
	}
	return p.weight.needs(p.Shape)
}

// Attach makes m the memory of p's numbers, in p's form. If that is not float32, data is the
// memory of the float32 weights of a trained p; nil: it has none. store provides the numbers;
// nil: they stay in m.
func (p *Param) Attach(m driver.Memory, data driver.F32, store WeightStore) {
	p.weight.place(m)
	if p.Data, p.store = p.weight.float32(), store; p.Data.IsNil() {
		p.Data = data
	}
}

// Widen overwrites the float32 weights with those that products read, unless they are the same
// memory.
func (p *Param) Widen(dev driver.Device) {
	if p.twice() {
		p.weight.widen(dev, p.Data)
	}
}

// BindTrained makes p a trainable float32 parameter whose numbers are data.
func (p *Param) BindTrained(data driver.F32) {
	p.Data, p.weight, p.trains, p.store = data, &float32s{data: data}, true, nil
}

// hasMemory reports whether p has memory.
func (p *Param) hasMemory() bool {
	return !p.weight.float32().IsNil() || !p.weight.bf16().IsNil() || p.weight.bytes() > 0
}

// Sharded reports whether a WeightStore provides p's numbers.
func (p *Param) Sharded() bool { return p.store != nil }

func (p *Param) fetch() error {
	if p.store == nil {
		return nil
	}
	return p.store.Fetch()
}

func (p *Param) keep() error {
	if p.store == nil {
		return nil
	}
	return p.store.Keep()
}
