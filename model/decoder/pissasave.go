package decoder

import (
	"fmt"
	"math"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// SavePiSSA writes what LLaMA-Factory's pissa_convert writes, each as an adapter in a folder of
// dir: pissa_init, the adapter as PiSSA initialised it; pissa_backup, the adapter as it is now;
// and pissa_converted, an adapter for the original weights. This is the difference of the two,
// B·A - B₀·A₀ = [B, -B₀]·[A; A₀], with twice the rank and the same scale.
func (m *Model) SavePiSSA(dir string) error {
	if m.adapter == nil || m.adapter.start == nil {
		return fmt.Errorf("saving PiSSA's parts to %s: the adapter was not started as one", dir)
	}
	initial, now, difference, err := m.pissaTensors()
	if err != nil {
		return err
	}
	plain := *m.toPEFT()
	plain.Initial, plain.ModulesToSave = "", nil
	doubled := plain
	doubled.Rank, doubled.Alpha = 2*plain.Rank, 2*plain.Alpha
	if plain.RSLoRA {
		doubled.Alpha = plain.Alpha * math.Sqrt2
	}
	for _, x := range []struct {
		name    string
		tensors []checkpoint.Tensor
		config  *checkpoint.AdapterConfig
	}{{"pissa_init", initial, &plain}, {"pissa_backup", now, &plain}, {"pissa_converted", difference, &doubled}} {
		to := filepath.Join(dir, x.name)
		if err := storage.MkdirAll(to); err != nil {
			return err
		}
		if err := checkpoint.WriteSafetensors(adapterFile(to), map[string]string{"format": "pt"}, x.tensors); err != nil {
			return err
		}
		if err := checkpoint.WriteAdapterConfig(to, x.config); err != nil {
			return err
		}
	}
	return nil
}

// pissaTensors returns the tensors of the three adapters that SavePiSSA writes: A and B of every
// module as initialised, as they are now, and of the difference.
func (m *Model) pissaTensors() (initial, now, difference []checkpoint.Tensor, err error) {
	for _, mod := range m.adapter.modules {
		a := mod.linear.LoRA
		var trained [2]checkpoint.Tensor // A and B
		for i, p := range adapterTensors(a)[:2] {
			if trained[i], err = m.stored(p); err != nil {
				return nil, nil, nil, err
			}
			start := trained[i]
			start.F32 = m.adapter.start[p]
			now, initial = append(now, trained[i]), append(initial, start)
		}
		difference = append(difference, joinedRanks(a.Rank, trained, m.adapter.start[a.A], m.adapter.start[a.B])...)
	}
	return initial, now, difference, nil
}

// joinedRanks returns [A; A₀] and [B, -B₀], whose product is B·A - B₀·A₀. trained are A [rank, in]
// and B [out, rank].
func joinedRanks(rank int, trained [2]checkpoint.Tensor, a0, b0 []float32) []checkpoint.Tensor {
	down, up := trained[0], trained[1]
	in, out := down.Shape[1], up.Shape[0]
	down.Shape, up.Shape = []int{2 * rank, in}, []int{out, 2 * rank}
	down.F32 = append(append(make([]float32, 0, 2*len(a0)), trained[0].F32...), a0...)
	up.F32 = make([]float32, 0, 2*len(b0))
	for o := range out {
		up.F32 = append(up.F32, trained[1].F32[o*rank:(o+1)*rank]...)
		for _, x := range b0[o*rank : (o+1)*rank] {
			up.F32 = append(up.F32, -x)
		}
	}
	return []checkpoint.Tensor{down, up}
}
