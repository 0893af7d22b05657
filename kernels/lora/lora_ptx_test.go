package lora_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/lora"
	"dataflex.dev/dataflex/kernels/optest"
)

func TestPTX(t *testing.T) {
	dev := optest.Device(t, 80)
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
	out := func(x driver.F32) []float32 { return optest.Out(t, dev, x) }
	for i, s := range [][4]int{{1, 1, 1, 1}, {65, 40, 24, 8}, {7, 65, 300, 3}, {130, 48, 50, 64}} {
		p := newProblem(uint64(i), s[0], s[1], s[2], s[3])
		x, a, b, dy := in(p.x), in(p.a), in(p.b), in(p.dy)
		u, v, y, dx, da, db := in(make([]float32, p.t*p.r)), in(make([]float32, p.t*p.r)), in(p.y), in(p.dx), in(p.da), in(p.db)
		lora.Forward(dev, x, a, b, p.scale, u, y, p.t, p.in, p.out, p.r)
		lora.Backward(dev, dy, x, a, b, u, p.scale, v, dx, da, db, p.t, p.in, p.out, p.r)
		got := result{out(u), out(y), out(v), out(dx), out(da), out(db)}
		simple, exact := plain[float32](p), plain[float64](p)
		for name, x := range got.named() {
			optest.Within(t, fmt.Sprintf("%v %s", s, name), x, simple[name], exact[name])
		}
	}
}
