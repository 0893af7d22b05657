package tensor

import "dataflex.dev/dataflex/driver"

// Home keeps the numbers of parameters whose memory others use as well: of a sharded
// weight every process keeps a share, and has all of it only while it computes with it.
type Home interface {
	// Fetch brings the numbers to the memory, unless they are there.
	Fetch() error
	// Keep takes what was written to the memory.
	Keep() error
}

// Needs is the memory of p's form, in bytes.
func (p *Param) Needs() int {
	if p.weight == nil {
		return 0
	}
	return p.weight.needs(p.Shape)
}

// Lodge puts p's numbers, in its form, into memory of somebody else, and, unless it is nil, the
// float32 weights of a p that trains into data, where the form is another. home, unless it is
// nil, keeps them.
func (p *Param) Lodge(m driver.Memory, data driver.F32, home Home) {
	p.weight.place(m)
	if p.Data, p.home = p.weight.float32(), home; p.Data.IsNil() {
		p.Data = data
	}
}

// Widen overwrites the float32 weights with those of the form that products read, where the two
// are not the same memory.
func (p *Param) Widen(dev driver.Device) {
	if p.twice() {
		p.weight.widen(dev, p.Data)
	}
}

// Hold makes p a float32 parameter that trains, of those numbers.
func (p *Param) Hold(data driver.F32) {
	p.Data, p.weight, p.trains, p.home = data, &float32s{data: data}, true, nil
}

// lodged reports whether p has memory.
func (p *Param) lodged() bool {
	return !p.weight.float32().IsNil() || !p.weight.bf16().IsNil() || p.weight.bytes() > 0
}

// Sharded reports whether a Home keeps p's numbers.
func (p *Param) Sharded() bool { return p.home != nil }

func (p *Param) fetch() error {
	if p.home == nil {
		return nil
	}
	return p.home.Fetch()
}

func (p *Param) keep() error {
	if p.home == nil {
		return nil
	}
	return p.home.Keep()
}
