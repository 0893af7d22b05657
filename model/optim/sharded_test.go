package optim

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// halves shares parameters out between two processes at a place of each, and gathers what the
// other one keeps out of its hands.
type halves struct {
	rank  int
	at    map[string]int
	views map[string][]Part
	whole map[string][2][]driver.F32 // what both keep, kind by kind; set by the test
	kind  map[string]int
}

func newHalves(rank int, params []*tensor.Param, at map[string]int) *halves {
	h := &halves{rank: rank, at: at, views: map[string][]Part{}, kind: map[string]int{}}
	for _, p := range params {
		from, to := 0, at[p.Name]
		if rank == 1 {
			from, to = at[p.Name], p.Size()
		}
		if from < to {
			v := &tensor.Param{Name: fmt.Sprint(p.Name, from), Shape: []int{to - from}}
			v.View(p, from)
			h.views[p.Name] = []Part{{from, v}}
		}
	}
	return h
}

func (h *halves) Parts(p *tensor.Param) []Part { return h.views[p.Name] }
func (h *halves) Writes() bool                 { return true }

func (h *halves) Gather(p *tensor.Param, _ []driver.F32, to driver.F32) error {
	at := 0
	kind := h.kind[p.Name]
	h.kind[p.Name]++
	for _, of := range h.whole[p.Name] {
		if kind%2 < len(of) {
			at += copy(to.Host()[at:], of[kind%2].Host())
		}
	}
	if at != p.Size() {
		return fmt.Errorf("%d of %d elements", at, p.Size())
	}
	return nil
}

// TestShardedSteps: two processes that step a part of each parameter have the weights and the
// state of one that steps all, and a checkpoint goes both ways.
func TestShardedSteps(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 7))
	for _, name := range []string{"adamw_torch", "lion_32bit", "sgd"} {
		dev := cpu.New(1)
		defer dev.Close()
		var params, again []*tensor.Param
		at := map[string]int{}
		for i, n := range []int{1, 4097, 9000, 5} {
			for _, list := range []*[]*tensor.Param{&params, &again} {
				p, err := tensor.New(dev, fmt.Sprintf("p%d.weight", i), n)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Train(dev); err != nil {
					t.Fatal(err)
				}
				*list = append(*list, p)
			}
			at[params[i].Name] = random.IntN(n/4096+1) * 4096
			for j := range params[i].Data.Host() {
				x := float32(random.NormFloat64())
				params[i].Data.Host()[j], again[i].Data.Host()[j] = x, x
			}
		}
		s := Settings{WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8}
		one, err := New(name, dev, params, s)
		if err != nil {
			t.Fatal(err)
		}
		var two [2]Optimizer
		var shares [2]*halves
		for rank := range two {
			shares[rank] = newHalves(rank, again, at)
			s.Shares = shares[rank]
			if two[rank], err = New(name, dev, again, s); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := two[0].Bytes()+two[1].Bytes(), one.Bytes(); got != want {
			t.Errorf("%s: two shares take %d bytes, the whole %d", name, got, want)
		}
		for range 3 {
			for i, p := range params {
				for j := range p.Grad.Host() {
					x := float32(random.NormFloat64())
					p.Grad.Host()[j], again[i].Grad.Host()[j] = x, x
				}
			}
			one.Step(0.01, 0.5)
			two[0].Step(0.01, 0.5)
			two[1].Step(0.01, 0.5)
		}
		for i, p := range params {
			if !slices.Equal(p.Data.Host(), again[i].Data.Host()) {
				t.Errorf("%s: %s differs", name, p.Name)
			}
		}
		steps, want, err := one.State()
		if err != nil {
			t.Fatal(err)
		}
		whole := map[string][2][]driver.F32{}
		for _, p := range again {
			var both [2][]driver.F32
			for rank, o := range two {
				for _, part := range shares[rank].views[p.Name] {
					both[rank] = inner(o).slots.at[part.View]
				}
			}
			whole[p.Name] = both
		}
		shares[0].whole = whole
		n, got, err := two[0].State()
		if err != nil || n != steps || len(got) != len(want) {
			t.Fatalf("%s: %d steps, %d tensors, %v", name, n, len(got), err)
		}
		for i := range want {
			if got[i].Name != want[i].Name || !slices.Equal(got[i].F32, want[i].F32) || !slices.Equal(got[i].Shape, want[i].Shape) {
				t.Errorf("%s: %s is not %s", name, got[i].Name, want[i].Name)
			}
		}
		readBack(t, name, two[1], shares[1], want, steps)
	}
}

func inner(o Optimizer) *stepped {
	if a, ok := o.(*shardedAdam); ok {
		return a.inner
	}
	return o.(*sharded).inner
}

// readBack writes a whole state and has a share read it: it takes its own part.
func readBack(t *testing.T, name string, o Optimizer, h *halves, state []checkpoint.Tensor, steps int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "optimizer.safetensors")
	if err := checkpoint.WriteSafetensors(path, nil, state); err != nil {
		t.Fatal(err)
	}
	for _, x := range inner(o).slots.list {
		clear(driver.View[float32](x.memory).Host())
	}
	w, err := checkpoint.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := o.SetState(steps+4, w); err != nil || o.Steps() != steps+4 {
		t.Fatalf("%s: %d steps, %v", name, o.Steps(), err)
	}
	for _, x := range state {
		kind := slices.Index([]string{"m", "v"}, x.Name[:1])
		for _, part := range h.views[x.Name[2:]] {
			got := inner(o).slots.of(part.View)[kind].Host()
			if !slices.Equal(got, x.F32[part.From:part.From+len(got)]) {
				t.Errorf("%s: %s is not what was written", name, x.Name)
			}
		}
	}
	if err := o.SetState(-1, w); err == nil {
		t.Error("-1 steps are read")
	}
}

// TestWholeAlone: what steps whole matrices is not shared out.
func TestWholeAlone(t *testing.T) {
	for _, name := range []string{"adafactor", MuonName} {
		if _, err := New(name, nil, nil, Settings{Shares: &halves{}}); err == nil || !strings.Contains(err.Error(), "stage 0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
