package decoder

import (
	"fmt"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/tensor"
)

// Follower is told how far a backward pass has come. A model's sections are its embeddings
// (0), its layers (1 to Layers), and its head with the norm below it (Layers+1): a backward
// pass goes through them from the last to the first.
type Follower interface {
	// Before is called before anything is added to the gradients of a section.
	Before(section int) error
	// After is called when nothing more is added to them.
	After(section int) error
}

// Sections is the number of sections that Follower is told of.
func (m *Model) Sections() int { return m.config.Layers + 2 }

// Span is the sections in which a parameter is used, from the first to the last: those of a
// tied head are the embeddings and the head.
type Span struct{ First, Last int }

// Spans returns those of every parameter.
func (m *Model) Spans() map[*tensor.Param]Span {
	out := map[*tensor.Param]Span{}
	for _, part := range m.parts {
		for _, p := range part.tensors() {
			out[p] = m.span(part.path, p)
		}
	}
	return out
}

// span is that of a parameter of the part with that path.
func (m *Model) span(path string, p *tensor.Param) Span {
	top := m.Sections() - 1
	if rest, in := strings.CutPrefix(path, m.family.named().layers+"."); in {
		number, _, _ := strings.Cut(rest, ".")
		if layer, err := strconv.Atoi(number); err == nil {
			return Span{layer + 1, layer + 1}
		}
	}
	switch {
	case p == m.embed && m.head.Weight != m.embed, p == m.positions:
		return Span{0, 0}
	case p == m.head.Weight && m.head.Weight != m.embed, p == m.head.Bias, (p == m.norm.weight || p == m.norm.bias) && !m.family.embedNorm:
		return Span{top, top}
	}
	return Span{0, top}
}

// PlaceGradients gives the gradient of every trainable parameter a place. Places may be the
// same memory if f, which is told of every backward pass, keeps what is in them; with f nil
// they are the parameters' own.
func (m *Model) PlaceGradients(place func(p *tensor.Param) driver.F32, f Follower) {
	for _, p := range m.Trainable() {
		p.Place(place(p))
	}
	for _, v := range m.views {
		v.follow()
	}
	m.follower = f
}

// WholeGradients gives all gradients memory of their own, at the same time, until back is
// called. Where no Follower keeps them they have it already.
func (m *Model) WholeGradients() (back func(), err error) {
	if m.follower == nil {
		return func() {}, nil
	}
	n := 0
	before := map[*tensor.Param]driver.F32{}
	for _, p := range m.Trainable() {
		n += p.Size()
		before[p] = p.Grad
	}
	memory, err := m.dev.Alloc(4 * n)
	if err != nil {
		return nil, fmt.Errorf("whole gradients: %w", err)
	}
	rest, follower := driver.View[float32](memory), m.follower
	m.PlaceGradients(func(p *tensor.Param) (own driver.F32) {
		own, rest = rest.Sub(0, p.Size()), rest.Sub(p.Size(), rest.Len())
		return own
	}, nil)
	return func() {
		m.PlaceGradients(func(p *tensor.Param) driver.F32 { return before[p] }, follower)
		m.dev.Free(memory)
	}, nil
}

// boundary is where a pass comes to the section above, whose weights it needs; -1 is below the
// first section. When the backward pass comes to this place it has left that section, which the
// follower is told, and comes to the one below.
func (m *Model) boundary(below int) {
	m.enter(below + 1)
	f := m.follower
	if !m.tape.Follows() {
		f = nil
	}
	if f == nil && m.shards == nil {
		return
	}
	m.tape.Mark(func() error {
		if f != nil {
			if err := m.leave(f, below+1); err != nil {
				return err
			}
		}
		if below < 0 {
			return nil
		}
		if m.enter(below); f != nil {
			return m.begin(f, below)
		}
		return nil
	})
}
