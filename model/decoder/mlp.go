package decoder

import (
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
)

// gatedMLP is down(act(gate(x)) · up(x)).
type gatedMLP struct {
	gate, up, gateUp, down autograd.Linear // gateUp replaces gate and up where a folder has them fused
	fused                  bool
	width                  int
	act                    swiglu.Activation
}

// plainMLP is down(act(up(x))).
type plainMLP struct {
	up, down autograd.Linear
	act      swiglu.Pointwise
}

// mlp builds the family's kind of MLP.
func (b *builder) mlp(path string, width int) feedForward {
	c := &b.c
	if p := b.f.plainMLP; p.up != "" {
		m := &plainMLP{act: b.f.plain(c)}
		b.linear(&m.up, path+p.up, c.Hidden, width, c.MLPBias)
		b.linear(&m.down, path+p.down, width, c.Hidden, c.MLPBias)
		return m
	}
	return b.gatedMLP(path, width)
}

func (b *builder) gatedMLP(path string, width int) *gatedMLP {
	c, names := &b.c, b.f.named()
	m := &gatedMLP{fused: b.f.fusedGateUp, width: width, act: b.f.act()}
	if m.fused {
		b.linear(&m.gateUp, path+"gate_up_proj", c.Hidden, 2*width, c.MLPBias)
	} else {
		b.linear(&m.gate, path+names.gate, c.Hidden, width, c.MLPBias)
		b.linear(&m.up, path+names.up, c.Hidden, width, c.MLPBias)
	}
	b.linear(&m.down, path+names.down, width, c.Hidden, c.MLPBias)
	return m
}

// feed implements feedForward.
func (f *plainMLP) feed(m *Model, h *autograd.Value) *autograd.Value {
	t := m.tape
	up := t.Linear(h, &f.up)
	s := t.Pointwise(f.act, up)
	t.Drop(up)
	y := t.Linear(s, &f.down)
	t.Drop(s)
	return y
}

// feed implements feedForward.
func (f *gatedMLP) feed(m *Model, h *autograd.Value) *autograd.Value {
	t := m.tape
	var gate, up *autograd.Value
	if f.fused {
		both := t.Linear(h, &f.gateUp)
		gate, up = t.Columns(both, 0, f.width), t.Columns(both, f.width, f.width)
		t.Drop(both)
	} else {
		both := t.Linears(h, &f.gate, &f.up)
		gate, up = both[0], both[1]
	}
	s := t.SwiGLUFor(&f.down, f.act, gate, up)
	t.Drop(gate, up)
	y := t.Linear(s, &f.down)
	t.Drop(s)
	return y
}

func (f *plainMLP) spread(map[*autograd.Linear]float64) {}
func (f *gatedMLP) spread(map[*autograd.Linear]float64) {}
