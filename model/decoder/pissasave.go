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
	var first, last, both []checkpoint.Tensor
	for _, mod := range m.adapter.modules {
		a := mod.linear.LoRA
		in, out := mod.linear.In, mod.linear.Out
		now := [2]checkpoint.Tensor{}
		for i, p := range adapterTensors(a)[:2] {
			t, err := m.stored(p)
			if err != nil {
				return err
			}
			now[i] = t
			start := t
			start.F32 = m.adapter.start[p]
			last, first = append(last, t), append(first, start)
		}
		a0, b0 := m.adapter.start[a.A], m.adapter.start[a.B]
		down, up := now[0], now[1]
		down.Shape, up.Shape = []int{2 * a.Rank, in}, []int{out, 2 * a.Rank}
		down.F32 = append(append(make([]float32, 0, 2*len(a0)), now[0].F32...), a0...)
		up.F32 = make([]float32, 0, 2*len(b0))
		for o := range out {
			up.F32 = append(up.F32, now[1].F32[o*a.Rank:(o+1)*a.Rank]...)
			for _, x := range b0[o*a.Rank : (o+1)*a.Rank] {
				up.F32 = append(up.F32, -x)
			}
		}
		both = append(both, down, up)
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
	}{{"pissa_init", first, &plain}, {"pissa_backup", last, &plain}, {"pissa_converted", both, &doubled}} {
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
