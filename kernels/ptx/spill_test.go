package ptx_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"
)

const spilling = `.version 7.0
.target sm_80
.address_size 64
.visible .entry spills(
.param .u64 spills_param_0
)
{
.local .align 4 .b8 depot[8];
.reg .b32 %r<2>;
.reg .b64 %rd<3>;
ld.param.u64 %rd1, [spills_param_0];
cvta.to.global.u64 %rd2, %rd1;
mov.u32 %r1, 7;
st.global.u32 [%rd2], %r1;
ret;
}
`

// TestSpills: a kernel whose registers the driver's compiler spills is reported once, and
// runs.
func TestSpills(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	type parameters struct{ out uintptr }
	kernels := ptx.Declare[parameters](ptx.New("spills", spilling), "spills")
	dev := optest.Sim(t) // the text is not valid on a GPU
	out := optest.In(t, dev, make([]float32, 1), 0)
	for range 2 {
		kernels.Launch(ptx.On(dev), "spills", ptx.Grid(1, 1), &parameters{out.Addr()})
	}
	if got := optest.Out(t, dev, out)[0]; got != 0x7p-149 {
		t.Errorf("the kernel wrote %v", got)
	}
	if n := strings.Count(log.String(), "kernel=spills bytes_per_thread=8"); n != 1 {
		t.Errorf("told of %d times: %s", n, &log)
	}
}
