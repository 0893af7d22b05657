package gradproj

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestRows: samples that come in batches have, projected together, the bits they have when
// each batch is projected by itself; rows can be used again.
func TestRows(t *testing.T) {
	eachDevice(t, func(t *testing.T, dev driver.Launcher) {
		r := rand.New(rand.NewPCG(41, 42))
		pairs := []pair{newPair(r, 30, 20, 3, 100, 2, 1, 0, 3, 1), newPair(r, 8, 12, 5, 0, 2, 1, 0, 3, 1)}
		adams := make([]*Adam, len(pairs))
		for i, pr := range pairs {
			adams[i] = testAdam(rand.New(rand.NewPCG(7, uint64(i))), pr.size())
			adams[i].M, adams[i].V = optest.In(t, dev, adams[i].M.Host(), 0), optest.In(t, dev, adams[i].V.Host(), 0)
		}
		for _, c := range []struct {
			kind Kind
			dim  int
			opt  Options
		}{{Rademacher, 40, Options{}}, {Rademacher, 40, Options{BF16: true}}, {SJLT, 50, Options{}}} {
			p := mustNew(t, c.kind, c.dim, total(pairs), c.opt)
			want, wantNorm := runPTX(t, dev, p, pairs, true, 0, 5)
			rows, err := p.NewRows(dev, 6)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for _, batch := range [][2]int{{0, 2}, {2, 3}, {3, 5}} {
					for i, pr := range pairs {
						if err := rows.Accumulate(pr.onDevice(t, dev, batch[0], batch[1]), adams[i]); err != nil {
							t.Fatal(err)
						}
					}
					rows.Advance(batch[1] - batch[0])
				}
				out, norm := optest.In(t, dev, make([]float32, rows.Len()*c.dim), 0), make([]float64, rows.Len())
				rows.Project(out, norm)
				optest.Same(t, fmt.Sprintf("%+v", c), optest.Out(t, dev, out), want)
				for i := range norm {
					if norm[i] != wantNorm[i] {
						t.Errorf("%+v: square norm %d is %v, not %v", c, i, norm[i], wantNorm[i])
					}
				}
			}
			used := dev.Used()
			rows.Close()
			if freed := used - dev.Used(); freed < uint64(6*p.RowBytes(dev)) {
				t.Errorf("%+v: %d bytes freed, RowBytes is %d", c, freed, p.RowBytes(dev))
			}
		}
		if n := mustNew(t, None, 0, 8, Options{}).RowBytes(dev); n != 0 {
			t.Errorf("%d bytes a row to collect for no matrix", n)
		}
	})
	if n := mustNew(t, Rademacher, 8, 8, Options{}).RowBytes(optest.CPU(t, 1)); n != 0 {
		t.Errorf("%d bytes a row on a CPU", n)
	}
}
