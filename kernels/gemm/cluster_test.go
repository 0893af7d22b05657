package gemm

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"
)

// problemOf is a product on a device, with the branch unless it has no steps.
func problemOf(t *testing.T, dev driver.Launcher, base, branch matrices) (*bf16Problem, driver.F32) {
	c := optest.In(t, dev, base.c, base.k%4)
	a, b := base.factors()
	p := &bf16Problem{tr: base.tr, k: base.k, a: on(a, upload(t, dev, base.a)), b: on(b, upload(t, dev, base.b)), c: base.product(c), alpha: base.alpha, add: base.beta != 0}
	if p.r = branch.k; p.r > 0 {
		u, l := branch.factors()
		p.u, p.l = on(u, upload(t, dev, branch.a)), on(l, upload(t, dev, branch.b))
	}
	return p, c
}

// inClusters runs the kernels of cluster.sm90a.cu, also where they do not pay.
func inClusters(t *testing.T, dev driver.Launcher, base, branch matrices) []float32 {
	p, c := problemOf(t, dev, base, branch)
	if !p.runInClusters(dev, true) {
		t.Fatal("refused")
	}
	return optest.Out(t, dev, c)
}

// alone runs those of bf16.sm90a.cu.
func alone(t *testing.T, dev driver.Launcher, base, branch matrices) []float32 {
	p, c := problemOf(t, dev, base, branch)
	p.runHopper(&withoutClusters{Launcher: dev})
	return optest.Out(t, dev, c)
}

// withoutClusters is a device whose attributes say so.
type withoutClusters struct {
	driver.Launcher
	own driver.Attachment
}

func (d *withoutClusters) Attached() *any { return d.own.Attached() }

func (d *withoutClusters) Attributes() driver.Attributes {
	a := d.Launcher.Attributes()
	a.Clusters = false
	return a
}

// TestClusterBits: the sums have the bits that they have without clusters: at the edges of
// tiles and slices, with a cluster's second block beyond the last row, with and without
// branch, several tiles a block and several clusters.
func TestClusterBits(t *testing.T) {
	for i, c := range []struct {
		m, n, k, rank int
		units         []int
		tr            []Transpose
	}{
		{1, 1, 1, 0, optest.Units[:1], []Transpose{NN, NT, TN}},
		{130, 40, 70, 16, optest.Units[:1], []Transpose{NN, NT}},
		{140, 260, 64, 0, optest.Units, []Transpose{TN}},
		{260, 30, 330, 0, optest.Units[:1], []Transpose{NT}},
		{260, 260, 40, 8, optest.Units, []Transpose{NT}},
	} {
		for _, tr := range c.tr {
			r := rand.New(rand.NewPCG(31, uint64(i)))
			x, branch := aligned(r, tr, c.m, c.n, c.k), matrices{}
			base := x
			if c.rank > 0 {
				x, base, branch = branched(r, tr, c.m, c.n, c.k, c.rank)
			}
			want := alone(t, optest.Multiprocessors(t, 90, 2), base, branch)
			x.verify(t, want)
			for _, units := range c.units {
				got := inClusters(t, optest.Multiprocessors(t, 90, units), base, branch)
				optest.Same(t, fmt.Sprint(tr, c.m, c.n, c.k, c.rank, units), got, want)
			}
		}
	}
}

// TestGroupsInClusters: as TestClusterBits, for groups: sums of several pairs, one below the
// rows of a pair of tiles, in bf16 and float32, with bias and old values.
func TestGroupsInClusters(t *testing.T) {
	for i, tr := range []Transpose{NT, TN} {
		r := rand.New(rand.NewPCG(37, uint64(i)))
		group := []summed{
			randomSum(r, tr, 140, 200, []int{70, 16}, true, true),
			randomSum(r, tr, 60, 40, []int{70}, false, true),
			randomSum(r, tr, 270, 264, []int{24}, true, false),
		}
		results := func(run func(dev driver.Launcher, sums []Sum)) (out [][]float32) {
			dev := optest.Multiprocessors(t, 90, 2+2*i)
			var sums []Sum
			var read []func() []float32
			for _, s := range group {
				sum, get := s.launch(t, dev)
				sums, read = append(sums, sum), append(read, get)
			}
			run(dev, sums)
			for _, get := range read {
				out = append(out, get())
			}
			return out
		}
		want := results(func(dev driver.Launcher, sums []Sum) { RunGroup(&withoutClusters{Launcher: dev}, tr, sums) })
		got := results(func(dev driver.Launcher, sums []Sum) {
			if !runGroupCluster(ptx.On(dev), tr, sums, dev.Attributes().Units) {
				t.Fatal("refused")
			}
		})
		for j, s := range group {
			s.verify(t, fmt.Sprint(tr, j), got[j])
			optest.Same(t, fmt.Sprint(tr, j), got[j], want[j])
		}
	}
}

// oneSum is a group of one product, NT, that is not in memory.
func oneSum(m, n, k int) []Sum {
	return []Sum{{Pairs: []Pair{{BF16{Rows: m, Cols: k}, BF16{Rows: n, Cols: k}}}, F32: F32{Rows: m, Cols: n}}}
}

// TestClusterChoice: on 132 multiprocessors, and what the choice launches.
func TestClusterChoice(t *testing.T) {
	a := driver.Attributes{Units: 132, Clusters: true}
	for _, c := range []struct {
		m, n, k int
		pays    bool
	}{
		{8192, 4096, 4096, true},
		{8192, 1024, 4096, true},
		{8192, 14336, 4096, true},
		{1024, 14336, 4096, true},
		{2048, 4096, 4096, true},
		{8192, 4096, 16, false},          // nothing to share
		{128, 14336, 4096, false},        // one row of tiles
		{8192, 16, 4096, false},          // slim tiles
		{128 * 33, 256 * 8, 4096, false}, // 264 tiles are two waves, 17 x 8 pairs are three
	} {
		if got := groupClusterPays(NT, oneSum(c.m, c.n, c.k), a); got != c.pays {
			t.Errorf("%d x %d x %d: %v", c.m, c.n, c.k, got)
		}
	}
	a.Clusters = false
	if groupClusterPays(NT, oneSum(8192, 4096, 4096), a) {
		t.Error("a device without clusters")
	}
	dev := twoUnits(t)
	x := aligned(rand.New(rand.NewPCG(1, 2)), NT, 200, 260, 260)
	x.verify(t, x.runBF16(t, dev))
	if got := dev.Last().Kernel; got != clusterKernels[NT] {
		t.Errorf("%s ran", got)
	}
}

// TestClusterTraffic: a tile loads its A and half of its B.
func TestClusterTraffic(t *testing.T) {
	const m, n, k = 512, 512, 256
	for _, tr := range []Transpose{NN, NT, TN} {
		dev := twoUnits(t)
		x := aligned(rand.New(rand.NewPCG(11, 12)), tr, m, n, k)
		x.ldc, x.beta, x.c = n, 0, make([]float32, m*n)
		x.runBF16(t, dev)
		got := dev.Last()
		if want := uint64(2 * (m / 128 * n / 256) * k * (128 + 256/2)); got.Kernel != clusterKernels[tr] || got.Global.BulkLoads != want {
			t.Errorf("%s: %d bytes loaded, want %d", got.Kernel, got.Global.BulkLoads, want)
		}
		if got.Global.Units != got.Global.Ideal || got.Global.BulkSectors*32 != got.Global.BulkLoads || got.Conflicts() != 0 {
			t.Errorf("%v: %d sectors, ideal %d; %d of %d bulk bytes; %d bank conflicts", tr, got.Global.Units, got.Global.Ideal, got.Global.BulkSectors*32, got.Global.BulkLoads, got.Conflicts())
		}
	}
}

// refusing is a device whose driver launches no clusters although it says so.
type refusing struct {
	driver.Launcher
	own     driver.Attachment
	refused int
}

func (d *refusing) Attached() *any { return d.own.Attached() }

func (d *refusing) Launch(f driver.Function, c driver.Config, args *driver.Args) error {
	if slices.Contains(clusterKernels[:], f.Name()) {
		d.refused++
		return fmt.Errorf("cuLaunchKernel: %w", driver.ErrRefused)
	}
	return d.Launcher.Launch(f, c, args)
}

// TestClusterRefused: a device that refuses clusters is asked once, says so once, and computes
// the same without.
func TestClusterRefused(t *testing.T) {
	var log strings.Builder
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	x := aligned(rand.New(rand.NewPCG(1, 2)), NN, 200, 260, 260)
	dev := &refusing{Launcher: optest.Multiprocessors(t, 90, 2)}
	for range 2 {
		x.verify(t, x.runBF16(t, dev))
	}
	if dev.refused != 1 || strings.Count(log.String(), "the device refuses a kernel") != 1 || !strings.Contains(log.String(), clusterKernels[NN]) {
		t.Errorf("asked %d times; %s", dev.refused, log.String())
	}
}

// pair is a product of two pairs of tiles, one after the other, in whose ring of four stages
// five slices come twice, the last of them short.
func pair(tr Transpose) matrices {
	x := aligned(rand.New(rand.NewPCG(1, 19)), tr, 140, 264, 270)
	x.alpha, x.beta = 1, 0
	return x
}

// clusterAdversary is adversary with one cluster's worth of multiprocessors.
func clusterAdversary(t *testing.T, seed uint64) *sim.Device {
	dev := sim.New(sim.Options{Unwritten: true, Seed: seed, Capability: 90, Units: 2, Workers: 1})
	t.Cleanup(func() { dev.Close() })
	return dev
}

// TestClusterAnyOrder: whatever the order of blocks and warps, no fault and right sums.
func TestClusterAnyOrder(t *testing.T) {
	for seed, tr := range []Transpose{NN, NT} {
		x := pair(tr)
		dev := clusterAdversary(t, uint64(seed+1))
		x.verify(t, x.runBF16(t, dev))
		if got := dev.Last().Kernel; got != clusterKernels[tr] {
			t.Errorf("%s ran", got)
		}
	}
}

// TestClusterPlantedBugs: as TestHopperPlantedBugs, for what the two blocks owe each other.
func TestClusterPlantedBugs(t *testing.T) {
	for _, c := range []struct {
		name, kinds string
		tr          Transpose
		part        string
		n           int
		change      func(string) string
	}{
		{"no barrier behind the initialisation", sim.BadCluster + sim.BadBarrier + sim.BadMbarrier + sim.Race, NT, "barrier.cluster.wait", 0, optest.Drop},
		{"no fence behind the initialisation", sim.ProxyHazard + sim.Race, NT, "fence.mbarrier_init", 0, optest.Drop},
		{"a block exits while the other still releases", sim.BadCluster, NN, "barrier.cluster.wait", 1, optest.Drop},
		{"a stage is not released in the other block", sim.Deadlock, NT, "arrive.release.cluster", 0, optest.Drop},
		{"one block's release is enough", sim.Race + sim.AsyncHazard + sim.BadMbarrier, NT, "mbarrier.init", 1, optest.Last("8")},
		{"a release that publishes nothing", sim.Race + sim.AsyncHazard + sim.BadCluster, NT, "arrive.release.cluster", 0, optest.Swap("release", "relaxed")},
		{"the producer does not wait for a free stage", sim.AsyncHazard + sim.Race + sim.BadMbarrier, TN, "@!p bra AGAIN", 1, optest.Drop},
		{"half of B for this block alone", sim.Deadlock, NT, ".multicast::cluster", 0, func(s string) string {
			return strings.Replace(s[:strings.LastIndex(s, ",")], ".multicast::cluster", "", 1) + ";\n"
		}},
		{"a slice is not waited for", sim.AsyncHazard + sim.Uninitialised + sim.Race, NN, "@!p bra AGAIN", 0, optest.Drop},
		{"the blocks share a tile's bytes unequally", sim.Deadlock + sim.BadMbarrier + sim.AsyncHazard + sim.Race + sim.Uninitialised, NT, "expect_tx", 0, optest.Last("32768")},
	} {
		t.Run(c.name, func(t *testing.T) {
			kernel := clusterKernels[c.tr]
			defer clusterFamily.Replace(optest.Plant(t, optest.Alone(clusterFamily.Text(), kernel), kernel, c.part, c.n, c.change))()
			if kind, err := outcome(t, clusterAdversary(t, 1), pair(c.tr)); !strings.Contains(c.kinds, kind) {
				t.Errorf("%s (%v), want %s", kind, err, c.kinds)
			} else if testing.Verbose() {
				t.Log(err)
			}
		})
	}
}
