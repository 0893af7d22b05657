package selector

import "testing"

// A first selection that fails, for example because its file cannot be written, leaves no
// losses behind: restoring the state before it removes them.
func TestDeltaLossGoesBackToNothing(t *testing.T) {
	before, err := (&deltaLoss{}).State()
	if err != nil {
		t.Fatal(err)
	}
	s := &deltaLoss{initial: []float64{1}}
	if err := s.Restore(before); err != nil || s.initial != nil || s.Reuse() {
		t.Errorf("%v, %v", s.initial, err)
	}
}
