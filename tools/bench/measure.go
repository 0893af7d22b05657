package main

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/tools/command"
)

// ready loads the model, in bf16 with half, with an adapter and its optimizer.
func ready(dev *cpu.Device, dir string, o options, half bool) (*decoder.Model, optim.Adaptive, error) {
	m, err := decoder.Load(dev, dir, decoder.Options{BF16: half})
	if err != nil {
		return nil, nil, err
	}
	r := rand.New(rand.NewPCG(0, 0))
	if err := m.AddLoRA(decoder.LoRA{Rank: o.rank, Alpha: 2 * float64(o.rank), Targets: []string{"all"}}, r.Float64); err != nil {
		m.Close()
		return nil, nil, err
	}
	opt, err := optim.NewAdamW(dev, optim.Groups(m.Trainable(), 0), 0.9, 0.999, 1e-8)
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	return m, opt, nil
}

// step times training steps of a model of its own.
func step(dev *cpu.Device, dir string, o options, half bool) (float64, error) {
	m, opt, err := ready(dev, dir, o, half)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	defer opt.Close()
	if err := m.Reserve(m.Memory(o.batch*o.seq, o.batch*o.seq)); err != nil { // as training does
		return 0, err
	}
	return trainingStep(dev, m, opt, randomRows(rand.New(rand.NewPCG(0, 1)), o.batch*(o.steps+2), o.seq), o)
}

// measure times training steps and LESS passes once, warm.
func measure(dev *cpu.Device, dir string, o options) (f figures, err error) {
	if f.step, err = step(dev, dir, o, false); err != nil {
		return f, err
	}
	if simd.Unit() != "" {
		if f.half, err = step(dev, dir, o, true); err != nil {
			return f, err
		}
	}
	if o.stepsOnly {
		return f, nil
	}
	return f, f.passes(dev, dir, o)
}

// passes times LESS passes with each projection.
func (f *figures) passes(dev *cpu.Device, dir string, o options) error {
	m, opt, err := ready(dev, dir, o, false)
	if err != nil {
		return err
	}
	defer m.Close()
	defer opt.Close()
	if err := m.Reserve(m.Memory(o.seq, o.seq)); err != nil { // as a run that selects does
		return err
	}
	rows := randomRows(rand.New(rand.NewPCG(0, 1)), o.samples, o.seq)
	total := 0
	for _, p := range m.Trainable() {
		total += p.Size()
	}
	kinds := []struct {
		kind    gradproj.Kind
		dim     int
		options gradproj.Options
		into    *pass
	}{
		{gradproj.Inner, 1, gradproj.Options{Vectors: driver.FromHost(make([]float32, total))}, &f.gradient},
		{gradproj.SJLT, o.proj, gradproj.Options{}, &f.sjlt},
		{gradproj.Rademacher, o.proj, gradproj.Options{}, &f.rademacher},
	}
	// In turn, so that the machine's changes of speed meet all three alike; the
	// first round warms up.
	times := make([][]pass, len(kinds))
	for round := range 1 + o.rounds {
		for i, p := range kinds {
			took, err := lessPass(dev, m, opt, rows[:o.samples], p.kind, p.dim, total, p.options)
			if err != nil {
				return err
			}
			if round > 0 {
				times[i] = append(times[i], took)
			}
		}
	}
	for i, p := range kinds {
		p.into.wall = median(times[i], func(t pass) float64 { return t.wall })
		p.into.cpu = median(times[i], func(t pass) float64 { return t.cpu })
	}
	return nil
}

// randomRows are tokens without meaning, all of them labelled, as the peer has.
func randomRows(r *rand.Rand, n, seq int) []data.Example {
	rows := make([]data.Example, n)
	for i := range rows {
		ids := make([]int32, seq)
		for j := range ids {
			ids[j] = 3 + r.Int32N(49000)
		}
		rows[i] = data.Example{InputIDs: ids, Labels: ids}
	}
	return rows
}

// trainingStep is the median time of forward, backward, clipping and AdamW.
func trainingStep(dev *cpu.Device, m *decoder.Model, opt optim.Adaptive, rows []data.Example, o options) (float64, error) {
	var seconds []float64
	for s := range o.steps + 2 {
		started := time.Now()
		index := make([]int, o.batch)
		for i := range index {
			index[i] = s*o.batch + i
		}
		b := batch.Pack(rows, index)
		for _, p := range m.Trainable() {
			reduce.Fill(dev, 0, p.Grad)
		}
		weight := make([]float32, len(b.Tokens))
		for i := range weight {
			weight[i] = 1 / float32(b.Labels)
		}
		if _, err := m.Backward(b.Batch, decoder.Objective{Weight: weight, Train: true}); err != nil {
			return 0, err
		}
		opt.Step(1e-4, optim.Clip(optim.GradNorm(dev, m.Trainable()), 1))
		if s >= 2 {
			seconds = append(seconds, time.Since(started).Seconds())
		}
	}
	slices.Sort(seconds)
	return seconds[len(seconds)/2], nil
}

// pass is what a gradient pass takes per row, in seconds: on the clock, and of the
// processors' time, which neighbours on the machine disturb less.
type pass struct{ wall, cpu float64 }

// lessPass times a gradient pass with Adam's direction.
func lessPass(dev *cpu.Device, m *decoder.Model, opt optim.Adaptive, rows []data.Example, kind gradproj.Kind, dim, total int, options gradproj.Options) (pass, error) {
	projection, err := gradproj.New(kind, dim, 0, total, options)
	if err != nil {
		return pass{}, err
	}
	p := feature.GradientPass{
		Pass:       feature.Pass{Device: dev, Model: m},
		Projection: projection, Optimizer: opt,
		Direction: &feature.Direction{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8},
	}
	started, before := time.Now(), command.ProcessorTime()
	err = feature.Gradients(context.Background(), p, rows, 0, func([]int, []float32, []float64) error { return nil })
	n := float64(len(rows))
	return pass{time.Since(started).Seconds() / n, (command.ProcessorTime() - before).Seconds() / n}, err
}

// processor is the machine's processor and what of it is used.
func processor() string {
	return strings.TrimSpace(cpuName() + ", " + simd.Level() + " " + simd.Unit())
}

// cpuName is the processor's name where the system tells it.
func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown CPU"
}
