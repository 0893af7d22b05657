package gemm

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// adapterGradients are random gradients over rows of tokens, each added to a C with gaps.
func adapterGradients(r *rand.Rand, rows int, shapes ...[2]int) (list []summed) {
	for _, s := range shapes {
		x := randomSum(r, TN, s[0], s[1], []int{rows}, false, false)
		x.whole.alpha, x.whole.beta, x.pairs[0].alpha = 1, 1, 1
		list = append(list, x)
	}
	return list
}

// addAll adds the gradients in one call, and returns every C.
func addAll(t *testing.T, dev driver.Device, ends []int, list []summed) (out [][]float32) {
	var gradients []LoRAGradient
	var reads []func() []float32
	for _, s := range list {
		x, read := s.launch(t, dev)
		gradients, reads = append(gradients, LoRAGradient{x.Pairs[0].A, x.Pairs[0].B, x.F32}), append(reads, read)
	}
	AddLoRAGradients(dev, ends, gradients)
	for _, read := range reads {
		out = append(out, read())
	}
	return out
}

// TestLoRAGradients: against float64, on the host and on devices: of one piece, of several, of
// parts; ranks for each kernel, one too large for them, widths and ranks that fill no tile.
func TestLoRAGradients(t *testing.T) {
	for _, capability := range []int{0, 80, 90} {
		t.Run(fmt.Sprint("sm_", capability), func(t *testing.T) {
			var dev driver.Device = optest.CPU(t, 2)
			if capability > 0 {
				dev = optest.Device(t, capability)
			}
			r := rand.New(rand.NewPCG(41, 42))
			for _, c := range []struct {
				ends   []int
				shapes [][2]int
			}{
				{[]int{70}, [][2]int{{16, 136}, {136, 16}, {3, 40}, {41, 5}, {1, 1}}},
				{[]int{1100}, [][2]int{{16, 136}, {130, 16}}},
				{[]int{40, 40, 73, 640}, [][2]int{{24, 72}, {136, 32}, {64, 65}, {130, 40}, {70, 9}, {9, 70}, {136, 72}}},
				{[]int{20, 33}, [][2]int{{24, 72}, {40, 32}}},
				{[]int{33}, [][2]int{{66, 80}, {0, 8}}},
			} {
				list := adapterGradients(r, c.ends[len(c.ends)-1], c.shapes...)
				for i, got := range addAll(t, dev, c.ends, list) {
					list[i].verify(t, fmt.Sprint(c.ends, c.shapes[i]), got)
				}
			}
		})
	}
}

// TestLoRAGradientBits: parts together have the bits of one call after the other, also where one
// launch has no room for them; a gradient's bits do not depend on the others'.
func TestLoRAGradientBits(t *testing.T) {
	dev := optest.Device(t, 80)
	for _, ends := range [][]int{{5, 38, 600, 601}, many(maxPieces + 7)} {
		rows := ends[len(ends)-1]
		list := adapterGradients(rand.New(rand.NewPCG(43, 44)), rows, [2]int{16, 72}, [2]int{40, 3})
		together := addAll(t, dev, ends, list)
		for i, x := range list {
			optest.Same(t, fmt.Sprint(ends, i, " alone"), addAll(t, dev, ends, []summed{x})[0], together[i])
			from := 0
			for _, end := range ends {
				p := x
				p.pairs = []matrices{x.pairs[0]}
				p.pairs[0].a, p.pairs[0].b, p.pairs[0].k = p.pairs[0].a[from*p.pairs[0].lda:], p.pairs[0].b[from*p.pairs[0].ldb:], end-from
				x.whole.c = addAll(t, dev, []int{end - from}, []summed{p})[0]
				from = end
			}
			optest.Same(t, fmt.Sprint(ends, i, " part by part"), x.whole.c, together[i])
		}
	}
}

// many are parts of two rows.
func many(parts int) (ends []int) {
	for i := range parts {
		ends = append(ends, 2*i+2)
	}
	return ends
}

// TestLoRAGradientPieces: their number depends on a part's length alone, at most eight of whole
// slices, and they cover the part.
func TestLoRAGradientPieces(t *testing.T) {
	for rows, want := range map[int]int{1: 1, 512: 1, 513: 2, 1024: 2, 8192: 8, 100001: 8} {
		var g loraGradients
		g.cut(7, 7)
		g.cut(7, 7+rows)
		if int(g.pieces) != want || g.ends != 1<<(want-1) || g.first[0] != 7 || g.first[want] != int32(7+rows) {
			t.Errorf("%d rows: %d pieces %v, ends %b; want %d", rows, g.pieces, g.first[:g.pieces+1], g.ends, want)
		}
		for p := range want - 1 {
			if n := g.first[p+1] - g.first[p]; n%32 != 0 || n < 256 {
				t.Errorf("%d rows: piece %d has %d", rows, p, n)
			}
		}
	}
}

// TestLoRAGradientTraffic: factors are read once, and C is read and written once, in full
// sectors, without bank conflicts; partial sums of two pieces are written and read once, too.
func TestLoRAGradientTraffic(t *testing.T) {
	const width, across = 256, 128
	for _, rank := range []int{16, 32, 64} {
		for _, rows := range []int{128, 576} {
			dev := optest.Sim(t)
			list := adapterGradients(rand.New(rand.NewPCG(45, 46)), rows, [2]int{width, rank}, [2]int{rank, across})
			for i := range list {
				x := &list[i].whole
				x.ldc, x.c = x.n, x.c[:x.m*x.n]
			}
			dev.ResetCounters()
			addAll(t, dev, []int{rows}, list)
			want := 2*rows*(width+across+rank*(width+across)/128) + 2*4*rank*(width+across)
			if rows > pieceRows {
				want += 2 * 2 * 4 * rank * (width + across)
			}
			var bytes uint64
			for _, k := range dev.Totals() {
				bytes += k.GlobalBytes()
				if k.Global.Units != k.Global.Ideal || k.Conflicts() != 0 {
					t.Errorf("%s: %d sectors, ideal %d; %d bank conflicts", k.Kernel, k.Global.Units, k.Global.Ideal, k.Conflicts())
				}
			}
			if bytes != uint64(want) {
				t.Errorf("rank %d, %d rows: %d bytes moved, want %d", rank, rows, bytes, want)
			}
		}
	}
}

// TestLoRAGradientPlantedBugs: what is left out of the ring, or of the pieces, is found.
func TestLoRAGradientPlantedBugs(t *testing.T) {
	const kernel, sums, wrong = "gemm_lora_gradient_16", "gemm_lora_gradient_sum", "wrong result"
	for _, c := range []struct {
		name, kinds, kernel, part string
		n                         int
		change                    func(string) string
	}{
		{"a slice is not waited for", sim.AsyncHazard + sim.Race, kernel, "cp.async.wait_group", 0, optest.Swap(" 2;", " 3;")},
		{"no barrier behind a slice", sim.Race + sim.AsyncHazard, kernel, "bar.sync", 0, optest.Drop},
		{"a slice is not committed", sim.AsyncHazard + sim.Race, kernel, "cp.async.commit_group", 2, optest.Drop},
		{"the operand is not transposed", wrong, kernel, ".trans.", 0, optest.Swap(".trans", "")},
		{"a part is subtracted", wrong, sums, "add.rn.f32", 9, optest.Swap("add.rn.f32", "sub.rn.f32")},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer loraGradientFamily.Replace(optest.Plant(t, loraGradientFamily.Text(), c.kernel, c.part, c.n, c.change))()
			list := adapterGradients(rand.New(rand.NewPCG(47, 48)), 600, [2]int{16, 72})
			var got [][]float32
			kind, err := optest.Fault(func() { got = addAll(t, adversary(t, 1), []int{600}, list) })
			if kind == "" {
				exact, _ := list[0].whole.reference()
				for i, v := range got[0] {
					if i%list[0].whole.ldc < 72 && !(v-float32(exact[i]) < 1e-2 && v-float32(exact[i]) > -1e-2) {
						kind = wrong
					}
				}
			}
			if kind == "" || !strings.Contains(c.kinds, kind) {
				t.Errorf("%q (%v), want %s", kind, err, c.kinds)
			}
		})
	}
}
