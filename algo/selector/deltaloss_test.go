package selector

import "testing"

// A first selection that fails, when its file cannot be written say, leaves no losses
// behind: the state of before is one without any.
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
