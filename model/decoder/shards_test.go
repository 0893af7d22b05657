package decoder

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// numbers are what a model computes of a batch, by name.
type numbers map[string][]float32

// values are a copy of what is on a device; a read that fails gives none.
func values(dev driver.Device, x driver.F32) []float32 {
	host, _ := driver.Read(dev, x)
	return slices.Clone(host)
}

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
		out[fmt.Sprint("hidden ", layer)] = values(m.dev, h)
	}
	tokens, err := m.Predictions(b)
	for _, id := range tokens {
		out["predictions"] = append(out["predictions"], float32(id))
	}
	if err != nil {
		return nil, err
	}
	if _, err := m.PerSample(b, o, func(sequence int, f gradproj.Factors) error {
		out["factors"] = append(out["factors"], values(m.dev, f.DY)...)
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
			out[fmt.Sprint(p.Name, checkpointed)] = values(m.dev, p.Grad)
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
				sharedAsWhole(t, c, half, 3, func() driver.Device { return cpu.New(1) })
			})
		}
	}
}

// TestShardsOnDevices: so they do where launches read the weights, frozen or trained.
func TestShardsOnDevices(t *testing.T) {
	device := func() driver.Device { return sim.New(sim.Options{}) }
	sharedAsWhole(t, shapes()["qwen3"], true, 2, device)
	partsAsWhole(t, shapes()["qwen3"], true, 2, device)
}

// sharedAsWhole compares that many processes, each with a device of its own, with one.
func sharedAsWhole(t *testing.T, c Config, half bool, processes int, device func() driver.Device) {
	t.Helper()
	prepared := func(dev driver.Device, shards *Shards) (*Model, Batch) {
		m := randomFrom(t, dev, c, forms{half: half, shards: shards})
		spread(t, m)
		adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
		return m, ragged(m)
	}
	one, b := prepared(device(), nil)
	want, err := computed(one, b)
	must(t, err)
	on(processes, device, func(dev driver.Device, job driver.Collective) {
		m, b := prepared(dev, sharedBy(job))
		got, err := computed(m, b)
		if err != nil {
			t.Errorf("process %d: %v", job.Rank(), err)
		}
		for what, x := range want {
			if len(x) == 0 || !slices.Equal(got[what], x) {
				t.Errorf("process %d: %s differs", job.Rank(), what)
			}
		}
	})
}

// each runs what several processes do on the host.
func each(processes int, do func(dev driver.Device, job driver.Collective)) {
	on(processes, func() driver.Device { return cpu.New(1) }, do)
}

// on runs what several processes do, each on a device of its own.
func on(processes int, device func() driver.Device, do func(dev driver.Device, job driver.Collective)) {
	devs := make([]driver.Device, processes)
	for r := range devs {
		devs[r] = device()
	}
	var all sync.WaitGroup
	for rank, job := range lanes.Job(processes, devs...) {
		all.Go(func() {
			defer job.Close()
			do(devs[rank], job)
		})
	}
	all.Wait()
}

// sharedBy shares weights out among processes that make the same passes.
func sharedBy(job driver.Collective) *Shards {
	return &Shards{
		Rank: job.Rank(), Of: job.Size(),
		Gather: func(_ string, own, all driver.F32) func() error {
			err := job.AllGather(context.Background(), own, all)
			return func() error { return err }
		},
		Take: func(_ uint32, do func() error) error { return do() },
	}
}

// TestWeightParts: in every family weights that train, kept in parts, are those of one process
// wherever they are used, before the parts change and after.
func TestWeightParts(t *testing.T) {
	for name, c := range shapes() {
		for _, half := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", bf16 ", half), func(t *testing.T) {
				partsAsWhole(t, c, half, 3, func() driver.Device { return cpu.New(1) })
			})
		}
	}
}

// partsAsWhole compares that many processes, each with a device of its own, with one.
func partsAsWhole(t *testing.T, c Config, half bool, processes int, device func() driver.Device) {
	t.Helper()
	one := randomFrom(t, device(), c, forms{half: half})
	must(t, one.TrainAll())
	b := sequences(one, 2, 5)
	before, err := trained(one, b)
	must(t, err)
	for _, p := range one.Trainable() {
		reduce.Axpy(one.dev, -0.01, p.Grad, p.Data)
		p.Sync(one.dev)
	}
	after, err := trained(one, b)
	must(t, err)
	on(processes, device, func(dev driver.Device, job driver.Collective) {
		m := randomFrom(t, dev, c, forms{half: half, shards: sharedBy(job)})
		if err := m.TrainAll(); err != nil {
			t.Error(err)
			return
		}
		kept := inEqualParts(t, m, job)
		for step, want := range []numbers{before, after} {
			got, err := trained(m, b)
			if err != nil {
				t.Errorf("process %d: %v", job.Rank(), err)
			}
			for what, x := range want {
				if !slices.Equal(got[what], x) {
					t.Errorf("process %d, after %d steps: %s differs", job.Rank(), step, what)
				}
			}
			for _, p := range m.Trainable() {
				if !p.Sharded() {
					reduce.Axpy(dev, -0.01, p.Grad, p.Data)
					p.Sync(dev)
				}
				for _, part := range kept[p] {
					reduce.Axpy(dev, -0.01, p.Grad.Sub(part.From, part.To), part.Values)
				}
			}
			m.ForgetWeights()
		}
	})
}

// trained is the losses of a batch, the gradients and the weights.
func trained(m *Model, b Batch) (numbers, error) {
	out := numbers{}
	for _, p := range m.Trainable() {
		reduce.Fill(m.dev, 0, p.Grad)
	}
	var err error
	if out["losses"], err = m.Backward(b, Objective{Weight: sampleWeights(b), Train: true}); err != nil {
		return nil, err
	}
	for _, p := range m.Trainable() {
		x, err := p.Read(m.dev)
		if err != nil {
			return nil, err
		}
		out[p.Name], out["gradient of "+p.Name] = slices.Clone(x), values(m.dev, p.Grad)
	}
	return out, nil
}

// inEqualParts keeps a process's equal part of every parameter that trains, whatever its blocks are,
// and returns them.
func inEqualParts(t *testing.T, m *Model, job driver.Collective) map[*tensor.Param][]WeightPart {
	kept := map[*tensor.Param][]WeightPart{}
	err := m.KeepInParts(func(p *tensor.Param) (parts []WeightPart) {
		from, to := p.Size()*job.Rank()/job.Size(), p.Size()*(job.Rank()+1)/job.Size()
		if from < to {
			parts = append(parts, WeightPart{From: from, To: to})
		}
		return parts
	}, func(p *tensor.Param, parts []WeightPart) {
		kept[p] = parts
	}, func(_ string, params []*tensor.Param) func() error {
		err := gatherParts(m, job, kept, params)
		return func() error { return err }
	})
	if err != nil {
		t.Error(err)
	}
	return kept
}

// gatherParts makes whole weights of the parts that the processes keep.
func gatherParts(m *Model, job driver.Collective, kept map[*tensor.Param][]WeightPart, params []*tensor.Param) error {
	for _, p := range params {
		var own []byte
		for _, part := range kept[p] {
			own, _ = binary.Append(own, binary.LittleEndian, values(m.dev, part.Values)) // numbers have a size
		}
		all, err := job.GatherBytes(context.Background(), own)
		if err != nil {
			return err
		}
		whole := make([]float32, p.Size())
		if _, err := binary.Decode(slices.Concat(all...), binary.LittleEndian, whole); err != nil {
			return err
		}
		if err := driver.Upload(m.dev, p.Data, whole); err != nil {
			return err
		}
	}
	return nil
}

// planted is a token mixer, or a Follower, that fails where it is told to.
type planted struct {
	tokenMixer
	fails   bool
	section int // of the backward pass; 0: the forward pass fails
	job     driver.Collective
}

func (f *planted) mix(m *Model, i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	if f.fails && f.section == 0 {
		panic("a planted fault")
	}
	return f.tokenMixer.mix(m, i, h, b, cache)
}

func (f *planted) Before(section int) error {
	if f.fails && section > 0 && section == f.section {
		panic("a planted fault")
	}
	return nil
}

// After makes a call of all processes, as adding up a section's gradients does.
func (f *planted) After(section int) error {
	own := driver.FromHost([]float32{float32(section)})
	all := driver.FromHost(make([]float32, f.job.Size()))
	if err := f.job.AllGather(context.Background(), own, all); err != nil {
		return err
	}
	if x := all.Host(); slices.Max(x) != slices.Min(x) {
		return fmt.Errorf("gradients of sections %v are added up", x)
	}
	return nil
}

// TestShardedPassEnds: a pass that fails, wherever it does, makes the calls of the others' passes to
// the end, and so does a process that goes along: the next pass is right on all of them.
func TestShardedPassEnds(t *testing.T) {
	c := shapes()["qwen3"]
	for section := range c.Layers + 2 {
		for _, along := range []bool{false, true} {
			each(2, func(dev driver.Device, job driver.Collective) {
				m := randomFrom(t, dev, c, forms{shards: sharedBy(job)})
				spread(t, m)
				adapt(t, m, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}})
				b := ragged(m)
				o := Objective{Weight: sampleWeights(b), Train: true}
				want, err := m.Losses(b, 0)
				if err != nil {
					t.Error(err)
				}
				f := &planted{tokenMixer: m.layers[1].mixer, fails: job.Rank() == 1 && (!along || section > 0), section: section, job: job}
				m.follower, m.layers[1].mixer = f, f
				if job.Rank() == 1 && along {
					err = m.RunIdleBackward()
				} else {
					_, err = m.Backward(b, o)
				}
				if (err != nil) != f.fails {
					t.Errorf("section %d, process %d: %v", section, job.Rank(), err)
				}
				f.fails, m.follower = false, nil
				if got, err := m.Losses(b, 0); err != nil || !slices.Equal(got, want) {
					t.Errorf("section %d, process %d: the next pass computes other losses, %v", section, job.Rank(), err)
				}
			})
		}
	}
}
