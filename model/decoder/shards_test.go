package decoder

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/kernels/gradproj"
)

// numbers are what a model computes of a batch, by name.
type numbers map[string][]float32

// computed makes every kind of pass of a model with adapters.
func computed(m *Model, b Batch) (numbers, error) {
	out := numbers{}
	o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 7}
	var err error
	if out["losses"], err = m.Losses(b, 0); err != nil {
		return nil, err
	}
	for _, layer := range []int{1, -1} {
		h, err := m.Hidden(b, layer)
		if err != nil {
			return nil, err
		}
		out[fmt.Sprint("hidden ", layer)] = slices.Clone(h.Host())
	}
	tokens, err := m.Predictions(b)
	for _, id := range tokens {
		out["predictions"] = append(out["predictions"], float32(id))
	}
	if err != nil {
		return nil, err
	}
	if _, err := m.PerSample(b, o, func(sequence int, f gradproj.Factors) error {
		out["factors"] = append(out["factors"], f.DY.Host()...)
		return nil
	}); err != nil {
		return nil, err
	}
	for _, checkpointed := range []bool{false, true} {
		m.CheckpointLayers(checkpointed)
		if _, err := m.Backward(b, o); err != nil {
			return nil, err
		}
		for _, p := range m.Trainable() {
			out[fmt.Sprint(p.Name, checkpointed)] = slices.Clone(p.Grad.Host())
		}
	}
	for _, p := range m.base() {
		if out[p.Name], err = p.Read(m.dev); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// TestShards: in every family processes that share the weights out compute the bits of one that
// has them all, in every kind of pass, and keep their share and the window.
func TestShards(t *testing.T) {
	for name, c := range shapes() {
		for _, half := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", bf16 ", half), func(t *testing.T) {
				prepared := func(dev driver.Device, shards *Shards) (*Model, Batch) {
					m := randomFrom(t, dev, c, forms{half: half, shards: shards})
					spread(t, m)
					adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
					return m, ragged(m)
				}
				one, b := prepared(cpu.New(1), nil)
				want, err := computed(one, b)
				must(t, err)
				const processes = 3
				devs := make([]driver.Device, processes)
				for r := range devs {
					devs[r] = cpu.New(1)
				}
				var all sync.WaitGroup
				for rank, job := range lanes.Job(processes, devs...) {
					all.Go(func() {
						m, b := prepared(devs[rank], &Shards{
							Rank: rank, Of: processes,
							Gather: func(_ string, own, all driver.F32) error { return job.AllGather(context.Background(), own, all) },
							Take:   func(_ uint32, do func() error) error { return do() },
						})
						got, err := computed(m, b)
						if err != nil {
							t.Errorf("process %d: %v", rank, err)
						}
						for what, x := range want {
							if !slices.Equal(got[what], x) {
								t.Errorf("process %d: %s differs", rank, what)
							}
						}
					})
				}
				all.Wait()
			})
		}
	}
}
