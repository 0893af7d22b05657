package train

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	driverlanes "dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/model/tensor"
)

// TestSharesMemory: of a model that trains in full a process keeps its part of the
// optimizer's state to 5 %, the plan counts what the device then holds, and the parts make the
// whole.
func TestSharesMemory(t *testing.T) {
	dir := t.TempDir()
	shape := `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 192, "intermediate_size": 512,
		"num_hidden_layers": 6, "num_attention_heads": 3, "num_key_value_heads": 3, "vocab_size": 4000}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(shape), 0o644); err != nil {
		t.Fatal(err)
	}
	host := cpu.New(1)
	defer host.Close()
	for _, dev := range []driver.Device{plan.New(host), cpu.New(1)} {
		m, err := decoder.Init(dev, dir, decoder.Options{}, func() float64 { return 0.5 })
		if err != nil {
			t.Fatal(err)
		}
		if err := m.TrainAll(); err != nil {
			t.Fatal(err)
		}
		params := m.Trainable()
		n := 0
		for _, p := range params {
			n += p.Size()
		}
		for _, processes := range []int{2, 4, 8} {
			total := uint64(0)
			for rank := range processes {
				l := &lanes{device: dev, params: params, shares: newShares(params, processes, rank)}
				before := dev.Used()
				o, err := optim.New("adamw_torch", dev, params, optim.Settings{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Shares: l})
				if err != nil {
					t.Fatal(err)
				}
				what := fmt.Sprintf("%v, process %d of %d", dev.Kind(), rank, processes)
				if used := dev.Used() - before; used != o.Bytes() {
					t.Errorf("%s: the device holds %d bytes, the plan says %d", what, used, o.Bytes())
				}
				if part := 8 * float64(n) / float64(processes); float64(o.Bytes()) < 0.95*part || float64(o.Bytes()) > 1.05*part {
					t.Errorf("%s: %d bytes, want %v to 5 %%", what, o.Bytes(), part)
				}
				total += o.Bytes()
				o.Close()
			}
			if total != uint64(8*n) {
				t.Errorf("%d processes keep %d bytes, want %d", processes, total, 8*n)
			}
		}
		m.Close()
	}
}

// TestSharesStep: two processes on the interpreter, whose matrices are bf16 with float32
// weights that train: norm, weights and what products read have the bits of one process.
func TestSharesStep(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 8))
	shapes := [][]int{{72, 64}, {64}, {8, 8}}
	var start [][]float32
	var lane [2][][]float32 // the gradients of the logical ranks
	for _, shape := range shapes {
		n := 1
		for _, d := range shape {
			n *= d
		}
		values := func() []float32 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(random.NormFloat64())
			}
			return x
		}
		start = append(start, values())
		lane[0], lane[1] = append(lane[0], values()), append(lane[1], values())
	}
	made := func(dev driver.Device, grad [][]float32) (params []*tensor.Param) {
		for i, shape := range shapes {
			form := tensor.NewBF16
			if len(shape) == 1 {
				form = tensor.New
			}
			p, err := form(dev, fmt.Sprint("p", i), shape...)
			if err == nil {
				err = errors.Join(p.Train(dev), p.Upload(dev, start[i]), driver.Upload(dev, p.Grad, grad[i]))
			}
			if err != nil {
				t.Fatal(err)
			}
			params = append(params, p)
		}
		return params
	}
	settings := optim.Settings{WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}
	state := func(dev driver.Device, params []*tensor.Param) (out [][]float32) {
		for _, p := range params {
			weights, err := driver.Read(dev, p.Data)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, slices.Clone(weights))
			p.Freeze(dev) // what is left is what products read
			read, err := p.Read(dev)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, slices.Clone(read))
		}
		return out
	}
	var sum [][]float32
	for i := range shapes {
		x := slices.Clone(lane[0][i])
		for j := range x {
			x[j] += lane[1][i][j]
		}
		sum = append(sum, x)
	}
	one := sim.New(sim.Options{Workers: 1})
	params := made(one, sum)
	o, err := optim.New("adamw_torch", one, params, settings)
	if err != nil {
		t.Fatal(err)
	}
	norm := optim.GradNorm(one, params)
	o.Step(0.01, 0.5)
	want := state(one, params)

	devs := []driver.Device{sim.New(sim.Options{Workers: 1}), sim.New(sim.Options{Workers: 1})}
	var all sync.WaitGroup
	for rank, c := range driverlanes.Job(2, devs...) {
		all.Go(func() {
			defer c.Close()
			ctx, job := ranks.New(t.Context(), c, time.Minute)
			dev := devs[rank]
			params := made(dev, lane[rank])
			cfg := &config.Config{}
			cfg.Training.Sharding.Stage = 1
			l := &lanes{job: job, per: 1, params: params, device: dev}
			if err := l.allocate(cfg, Plan{Ranks: 2}); err != nil {
				t.Error(err)
				return
			}
			defer l.close()
			s := settings
			s.Shares = l
			o, err := optim.New("adamw_torch", dev, params, s)
			if err != nil {
				t.Error(err)
				return
			}
			if err := l.reduce(ctx); err != nil {
				t.Error(err)
			}
			got, err := l.norm(ctx)
			if err != nil || got != norm {
				t.Errorf("rank %d: norm %v, want %v, %v", rank, got, norm, err)
			}
			if err := l.step(ctx, func() { o.Step(0.01, 0.5) }); err != nil {
				t.Error(err)
			}
			for i, x := range state(dev, params) {
				if !slices.Equal(x, want[i]) {
					t.Errorf("rank %d: tensor %d, form %d differs from that of one process", rank, i/2, i%2)
				}
			}
		})
	}
	all.Wait()
}
