package gradproj

import "testing"

type brokenSource struct{}

func (brokenSource) Signs([]uint64, int, int, int) { panic("out of signs") }

// What a source panics with comes up where the projection was asked for, not on a
// goroutine that would end the process.
func TestSourcesPanicReachesTheCaller(t *testing.T) {
	p := mustNew(t, TRAK, 300, 1<<10, Options{Source: brokenSource{}})
	p.work.table = make([]byte, 16*tileRows*300)
	defer func() {
		if r := recover(); r != "out of signs" {
			t.Errorf("came up: %v", r)
		}
	}()
	p.signTable(&deviceBlock{size: 64, rows: 64}, 0, 64, 160)
}
