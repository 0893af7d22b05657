package decoder

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/reduce"
)

// taker takes the gradients of a section when the backward pass has left it, and spoils them:
// they are no longer read. When the pass comes to one they must be untouched.
type taker struct {
	m     *Model
	order []int
	taken map[string][]float32
}

func (k *taker) Before(section int) error {
	k.order = append(k.order, section)
	for _, p := range k.m.Trainable() {
		span := k.m.Spans()[p]
		if g := p.Grad.Host(); span.First == span.Last && span.Last == section && slices.ContainsFunc(g, func(x float32) bool { return x != 0 }) {
			return fmt.Errorf("something is added to the gradient of %s before section %d", p.Name, section)
		}
	}
	return nil
}

func (k *taker) After(section int) error {
	k.order = append(k.order, -section)
	for _, p := range k.m.Trainable() {
		if k.m.Spans()[p].First == section {
			k.taken[p.Name] = slices.Clone(p.Grad.Host())
			reduce.Fill(k.m.dev, float32(math.NaN()), p.Grad)
		}
	}
	return nil
}

// TestSections: in every family the gradients of a section are whole when the backward pass has
// left it, and zeros before; layers are recomputed or not, everything trains or adapters do.
func TestSections(t *testing.T) {
	for name, c := range shapes() {
		t.Run(name, func(t *testing.T) {
			m := randomOn(t, cpu.New(2), c, false)
			spread(t, m)
			b := sequences(m, 2, 5)
			check := func(o Objective) {
				t.Helper()
				o.Weight = make([]float32, len(b.Tokens))
				r := rand.New(rand.NewPCG(3, 4))
				for i := range o.Weight {
					o.Weight[i] = r.Float32()
				}
				clear := func() {
					for _, p := range m.Trainable() {
						reduce.Fill(m.dev, 0, p.Grad)
					}
				}
				clear()
				_, err := m.Backward(b, o)
				must(t, err)
				want := map[string][]float32{}
				for _, p := range m.Trainable() {
					want[p.Name] = slices.Clone(p.Grad.Host())
				}
				for _, checkpointed := range []bool{false, true} {
					m.CheckpointLayers(checkpointed)
					clear()
					k := &taker{m: m, taken: map[string][]float32{}}
					m.follower = k
					_, err := m.Backward(b, o)
					must(t, err)
					m.follower = nil
					var order []int
					for s := m.Sections() - 1; s >= 0; s-- {
						order = append(order, s, -s)
					}
					if !slices.Equal(k.order, order) {
						t.Errorf("the pass goes %v, want %v", k.order, order)
					}
					for name, g := range want {
						equal(t, name, k.taken[name], g)
					}
				}
				m.CheckpointLayers(false)
			}
			must(t, m.TrainAll())
			check(Objective{Train: true, Balance: 0.5})
			layers := 0
			for _, p := range m.Trainable() {
				if s := m.Spans()[p]; s.First == s.Last {
					layers++
				}
			}
			if layers < m.config.Layers {
				t.Errorf("%d parameters are used in one section alone", layers)
			}
			must(t, m.Train(func(string) bool { return false }))
			adapt(t, m, LoRA{Rank: 3, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
			check(Objective{Train: true, DropoutSeed: 5})
		})
	}
}

// TestWholeGradients: gradients that lie in one memory get memory of their own for a pass, and
// lie there again afterwards.
func TestWholeGradients(t *testing.T) {
	dev := cpu.New(1)
	m := randomOn(t, dev, shapes()["llama"], false)
	must(t, m.TrainAll())
	b := sequences(m, 2, 5)
	_, err := m.Backward(b, Objective{})
	must(t, err)
	want := map[string][]float32{}
	most := 0
	for _, p := range m.Trainable() {
		want[p.Name] = slices.Clone(p.Grad.Host())
		most = max(most, p.Size())
		p.Freeze(dev)
		must(t, p.TrainPlaced(dev))
	}
	window := make([]float32, most)
	k := &taker{m: m, taken: map[string][]float32{}}
	place := func(n int) driver.F32 { return driver.FromHost(window[:n]) }
	before := dev.Used()
	for _, p := range m.Trainable() {
		p.Place(place(p.Size()))
	}
	m.follower = k
	back, err := m.WholeGradients()
	must(t, err)
	_, err = m.Backward(b, Objective{})
	must(t, err)
	for _, p := range m.Trainable() {
		equal(t, p.Name, p.Grad.Host(), want[p.Name])
	}
	back()
	if m.follower != k || dev.Used() != before || len(k.order) > 0 {
		t.Errorf("%d bytes are in use, %d were; the follower was told of %v", dev.Used(), before, k.order)
	}
	for _, p := range m.Trainable() {
		if &p.Grad.Host()[0] != &window[0] {
			t.Errorf("the gradient of %s is elsewhere", p.Name)
		}
	}
}
