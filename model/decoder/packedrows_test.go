package decoder

import (
	"path/filepath"
	"slices"
	"testing"
)

// samplesAsAlone: a row in a packed batch has the same losses, and the same factors of its
// adapters' gradients, as alone, to the last bit; and these are what the backward pass over the
// row alone adds to the gradients. Rows of the given lengths start at token i of the recording.
func samplesAsAlone(t *testing.T, folder, name string, lengths ...int) {
	t.Helper()
	ids, _, _ := plainRecords(t, folder)
	m := load(t, filepath.Join(folder, name), Options{})
	adapt(t, m, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}})
	b := packedRows(ids, lengths...)
	var all, one [][]float64
	losses, err := m.PerSample(b, Objective{Weight: sampleWeights(b)}, flattened(total(m), b, &all))
	must(t, err)
	for i, n := range lengths {
		row := following(ids[i : i+n])
		row.Segments = []int32{0, int32(n)}
		o := Objective{Weight: sampleWeights(row)}
		alone, err := m.PerSample(row, o, flattened(total(m), row, &one))
		must(t, err)
		if !slices.Equal(alone, losses[b.Segments[i]:b.Segments[i+1]]) || !slices.Equal(one[0], all[i]) {
			t.Errorf("row %d has other losses or gradients among others than alone", i)
		}
		for _, p := range m.Trainable() {
			clear(p.Grad.Host())
		}
		_, err = m.Backward(row, o)
		must(t, err)
		var whole []float32
		for _, p := range m.Trainable() {
			whole = append(whole, p.Grad.Host()...)
		}
		within(t, "gradient of a row", narrow(one[0]), whole, 1e-5)
	}
}

// takesPlannedMemory: a pass takes the memory that was planned, and not more if its tokens are
// divided into rows of the given lengths.
func takesPlannedMemory(t *testing.T, folder, name string, lengths ...int) {
	t.Helper()
	ids, _, _ := plainRecords(t, folder)
	m := load(t, filepath.Join(folder, name), Options{})
	adapt(t, m, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}})
	planned := m.Memory(len(ids), len(ids)).Activations
	_, err := m.Backward(packedRows(ids, len(ids)), Objective{Train: true})
	must(t, err)
	if m.config.MoE.Experts == 0 { // the plan of a mixture is the worst case: all tokens to one expert
		exactly(t, m, len(ids))
	}
	_, err = m.Backward(packedRows(ids, lengths...), Objective{Train: true})
	must(t, err)
	if taken := m.tape.HighWater(); taken > planned {
		t.Errorf("%s: %d bytes planned, %d taken", name, planned, taken)
	}
}
