package scratch

import "testing"

func TestPool(t *testing.T) {
	p := NewPool[[4]int](1)
	a, b := p.Take(), p.Take()
	a[0], b[0] = 1, 2
	p.Give(a)
	p.Give(b) // one too many
	if p.Len() != 1 {
		t.Errorf("%d objects in a pool of one", p.Len())
	}
	if got := p.Take(); got != a {
		t.Error("not the one that was given back first")
	}
	if got := p.Take(); *got != [4]int{} {
		t.Errorf("%v instead of a new one", *got)
	}
}

func TestSized(t *testing.T) {
	s := Sized[float32](nil, 5)
	s[0] = 7
	if got := Sized(s, 3); len(got) != 3 || &got[0] != &s[0] {
		t.Error("memory that is large enough is not used")
	}
	if got := Sized(s[:1], 5); len(got) != 5 || &got[0] != &s[0] {
		t.Error("room beyond the length is not used")
	}
	if got := Sized(s, 6); len(got) != 6 {
		t.Errorf("%d elements", len(got))
	}
}
