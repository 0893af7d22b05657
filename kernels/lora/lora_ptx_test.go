package lora_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
)

func TestPTX(t *testing.T) {
	dev := optest.Device(t, 80)
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
	out := func(x driver.F32) []float32 { return optest.Out(t, dev, x) }
	for i, s := range [][4]int{{1, 1, 1, 1}, {65, 40, 24, 8}, {7, 65, 300, 3}, {130, 48, 50, 64}} {
		p := newProblem(uint64(i), s[0], s[1], s[2], s[3])
		got := result{make([]float32, p.t*p.r), p.y, make([]float32, p.t*p.r), p.dx, p.da, p.db}
		placed := map[*float32]driver.F32{}
		p.on(dev, func(x []float32) driver.F32 { placed[&x[0]] = in(x); return placed[&x[0]] }, got)
		for _, x := range []*[]float32{&got.u, &got.y, &got.v, &got.dx, &got.da, &got.db} {
			*x = out(placed[&(*x)[0]])
		}
		simple, exact := plain[float32](p), plain[float64](p)
		for name, x := range got.named() {
			optest.Within(t, fmt.Sprintf("%v %s", s, name), x, simple[name], exact[name])
		}
	}
}
