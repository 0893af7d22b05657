package sim

import (
	"math"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

func probe(t testing.TB, o Options, edits ...string) *bench {
	return newBench(t, o, readFile(t, "testdata/probe.ptx"), edits...)
}

func ramp(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%1000) + 0.5
	}
	return x
}

func rowSum(b *bench, rows, n, short int) (driver.Config, *driver.Args, driver.Memory) {
	y := b.alloc("y", 4*rows)
	var a driver.Args
	a.Addr(b.putF32("x", ramp(rows*n-short)).Addr()).Addr(y.Addr()).I32(int32(n))
	return grid(rows, 1, 128), &a, y
}

func reverse(b *bench, tiles int) (driver.Config, *driver.Args, driver.Memory) {
	y := b.alloc("y", 4*512*tiles)
	var a driver.Args
	a.Addr(b.putF32("x", ramp(512*tiles)).Addr()).Addr(y.Addr()).I32(int32(tiles))
	return grid(1, 1, 128), &a, y
}

func TestProbeKernelsComputeWhatTheySay(t *testing.T) {
	for seed := range uint64(6) {
		o := Options{Seed: seed, GlobalRaces: seed%2 == 1}
		b := probe(t, o)
		cfg, a, y := rowSum(b, 5, 300, 0)
		b.run("row_sum", cfg, a)
		x := ramp(1500)
		for r, got := range b.getF32(y) {
			want := 0.0
			for _, v := range x[300*r : 300*r+300] {
				want += float64(v)
			}
			if math.Abs(float64(got)-want) > 1e-6*want {
				t.Errorf("seed %d row %d: %g, want %g", seed, r, got, want)
			}
		}
		cfg, a, y = reverse(b, 5)
		b.run("reverse_tiles", cfg, a)
		x = ramp(512 * 5)
		for i, got := range b.getF32(y) {
			if want := 2 * x[len(x)-1-i]; got != want {
				t.Fatalf("seed %d: y[%d] = %g, want %g", seed, i, got, want)
			}
		}
		const n = 1001
		y = b.alloc("y", 4*n)
		a = new(driver.Args).Addr(b.putF32("x", ramp(n)).Addr()).Addr(y.Addr()).I32(n)
		b.run("add_one", grid(2, 1, 128), a)
		for i, got := range b.getF32(y) {
			if want := ramp(n)[i] + 1; got != want {
				t.Fatalf("seed %d: y[%d] = %g, want %g", seed, i, got, want)
			}
		}
	}
}

// without removes the nth line (from 0) of kernel that contains part.
func without(t *testing.T, text, kernel, part string, n int) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	in := false
	for i, l := range lines {
		if strings.Contains(l, ".entry") {
			in = strings.Contains(l, kernel)
		}
		if in && strings.Contains(l, part) {
			if n == 0 {
				lines[i] = ""
				return strings.Join(lines, "\n")
			}
			n--
		}
	}
	t.Fatalf("%s has not that many lines with %q", kernel, part)
	return ""
}

// Each planted bug must be found in any order of the warps, and the message must name the
// PTX and the CUDA line. The kind of the fault depends on the order.
func TestPlantedBugsAreFound(t *testing.T) {
	replace := func(from, to string) func(t *testing.T, s string) string {
		return func(t *testing.T, s string) string {
			if !strings.Contains(s, from) {
				t.Fatalf("no %q", from)
			}
			return strings.Replace(s, from, to, 1)
		}
	}
	drop := func(kernel, part string, n int) func(t *testing.T, s string) string {
		return func(t *testing.T, s string) string { return without(t, s, kernel, part, n) }
	}
	same := func(_ *testing.T, s string) string { return s }
	cases := []struct {
		name, kind, kernel string
		edit               func(t *testing.T, s string) string
		n, short           int
		source             string
	}{
		{"no barrier before the read", Race + Uninitialised, "row_sum", drop("row_sum", "bar.sync", 0), 300, 0, "probe.cu:"},
		{"no barrier behind the wait", Race + Uninitialised + AsyncHazard, "reverse_tiles", drop("reverse_tiles", "bar.sync", 0), 5, 0, "probe.cu:"},
		{"no barrier before the refill", Race + AsyncHazard, "reverse_tiles", drop("reverse_tiles", "bar.sync", 1), 5, 0, "probe.cu:"},
		{"a wait for too few groups", AsyncHazard, "reverse_tiles", replace("wait_group 1;", "wait_group 2;"), 5, 0, "probe.cu:"},
		{"no wait", AsyncHazard, "reverse_tiles", drop("reverse_tiles", "wait_group", 0), 5, 0, "probe.cu:"},
		{"input one too short", OutOfBounds, "row_sum", same, 300, 1, "probe.cu:29"},
		{"bound off by one", OutOfBounds, "row_sum", replace("setp.lt.u32 \t%p2", "setp.le.u32 \t%p2"), 384, 0, "probe.cu:29"},
		{"not all warps write", Uninitialised, "row_sum", replace("setp.eq.s32 \t%p3, %r11, 0;", "setp.eq.s32 \t%p3, %r1, 0;"), 300, 0, "probe.cu:33"},
		{"shuffle in one arm", Divergence, "row_sum", replace("shfl.sync.bfly.b32 %f8", "@%p1 shfl.sync.bfly.b32 %f8"), 100, 0, "probe.cu:15"},
		{"barrier in one arm", Divergence, "row_sum", replace("bar.sync", "@%p3 bar.sync"), 300, 0, "probe.cu:"},
		{"barrier for some warps", Deadlock, "row_sum", replace("bar.sync \t0;", "setp.lt.u32 %p4, %r1, 96; @%p4 bar.sync 0; @!%p4 bar.sync 1;"), 300, 0, "probe.cu:"},
		{"misaligned vector", Misaligned, "reverse_tiles", replace("st.global.v4.f32 \t[%rd37]", "st.global.v4.f32 \t[%rd37+4]"), 5, 0, "probe.cu:"},
	}
	text := readFile(t, "testdata/probe.ptx")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(4) {
				b := newBench(t, Options{Seed: seed}, c.edit(t, text))
				prepare := rowSum
				if c.kernel == "reverse_tiles" {
					prepare = func(b *bench, _, n, _ int) (driver.Config, *driver.Args, driver.Memory) { return reverse(b, n) }
				}
				cfg, a, _ := prepare(b, 3, c.n, c.short)
				f := b.fails(c.kind, c.kernel, cfg, a)
				if !strings.Contains(f.Source, c.source) {
					t.Errorf("seed %d: %v does not name %s", seed, f, c.source)
				}
				for _, part := range []string{f.Source, f.Text, "ptx line ", "block (", "thread ("} {
					if !strings.Contains(f.Error(), part) {
						t.Errorf("seed %d: no %q in %v", seed, part, f)
					}
				}
				if seed == 0 {
					t.Log(f)
				}
			}
		})
	}
}

func TestMisalignedPointerIsFound(t *testing.T) {
	b := probe(t, Options{})
	x := b.putF32("x", ramp(1024))
	y := b.alloc("y", 4096)
	a := new(driver.Args).Addr(x.Addr() + 4).Addr(y.Addr()).I32(1000)
	f := b.fails(Misaligned, "add_one", grid(2, 1, 128), a)
	if want := "x+4, 16-byte access"; !strings.Contains(f.Message, want) {
		t.Errorf("message %q lacks %q", f.Message, want)
	}
}

func TestGlobalRaces(t *testing.T) {
	body := `mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd1, %r0, 4; add.u64 %rd2, %rd0, %rd1;
		st.global.u32 [%rd2], %r1; LINE`
	for _, c := range []struct {
		line   string
		blocks int
		kind   string
	}{
		{"", 2, Race}, // two blocks, one address
		{"", 1, ""},
		{"ld.global.u32 %r2, [%rd0];", 1, Race}, // thread 0's word, no barrier
		{"bar.sync 0; ld.global.u32 %r2, [%rd0];", 1, ""},
		{"ld.global.u32 %r2, [%rd2];", 1, ""},
	} {
		b := newBench(t, Options{GlobalRaces: true}, kernelText(strings.Replace(body, "LINE", c.line, 1), "%rd0"))
		a := new(driver.Args).Addr(b.alloc("y", 4*64).Addr())
		if c.kind != "" {
			b.fails(c.kind, "k", grid(c.blocks, 1, 64), a)
		} else {
			b.run("k", grid(c.blocks, 1, 64), a)
		}
	}
}
