package sim

import (
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

// Bugs planted in the kernels of cluster_test.go must be found in any order of blocks and
// warps; the kind of the fault may depend on the order.
func TestPlantedClusterBugsAreFound(t *testing.T) {
	oneArgument := func(b *bench) (driver.Config, *driver.Args) {
		return grid(2, 1, 32), new(driver.Args).Addr(b.alloc("y", 4*64*2).Addr())
	}
	tensor := func(b *bench) (driver.Config, *driver.Args) {
		cfg, a, _, _ := prepareMulticast(b)
		return cfg, a
	}
	const last = "barrier.cluster.arrive; barrier.cluster.wait;"
	for _, c := range []struct {
		name, kind string
		body       string
		edits      []string
	}{
		{"no barrier before a peer's memory is read", BadCluster, exchange, []string{clusterSync, ""}},
		{"a relaxed arrival publishes nothing", Race, exchange, []string{"arrive.release.aligned", "arrive.relaxed.aligned"}},
		{"arrived, but did not wait", BadCluster + Uninitialised, exchange, []string{"barrier.cluster.wait.acquire.aligned;", "", last, ""}},
		{"no barrier before the exit", BadCluster, exchange, []string{last, ""}},
		{"no wait before the exit", BadCluster, exchange, []string{"barrier.cluster.wait;", ""}},
		{"overwritten while a peer reads", Race, exchange, []string{last, "st.shared.u32 [%r4], %r0;" + last}},
		{"a store into a peer's memory that it reads", Race, exchange, []string{last, "st.shared::cluster.u32 [%r7], %r8; ld.shared.u32 %r8, [%r4];" + last}},
		{"a barrier of the block is none of the cluster", BadCluster, exchange, []string{clusterSync, "bar.sync 0;"}},
		{"arrives twice", BadBarrier, exchange, []string{"barrier.cluster.wait;", "barrier.cluster.arrive; barrier.cluster.wait;"}},
		{"waits without arriving", BadBarrier, exchange, []string{"barrier.cluster.arrive;", ""}},
		{"a part of the warp skips the aligned barrier", Divergence, exchange, []string{clusterSync, "setp.lt.u32 %p1, %r0, 7; @%p1 barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;"}},
		{"a rank that the cluster does not have", BadCluster, exchange, []string{"add.u32 %r6, %r1, 1;", "add.u32 %r6, %r1, 2;", "rem.u32 %r6, %r6, %r2;", ""}},
		{"past the end of a peer's memory", OutOfBounds, exchange, []string{"[%r7]", "[%r7+256]"}},
		{"a mapped address in shared::cta", OutOfBounds, exchange, []string{"ld.shared::cluster.u32", "ld.shared::cta.u32"}},
		{"a peer that never wrote", Uninitialised, exchange, []string{"st.shared.u32 [%r4], %r5;", "setp.eq.u32 %p2, %r1, 0; @%p2 st.shared.u32 [%r4], %r5;"}},

		{"nobody initialises the barrier", BadMbarrier, remoteArrival, []string{"@%p1 mbarrier.init", "setp.eq.u32 %p5, %r2, 99; @%p5 mbarrier.init"}},
		{"no fence behind the initialisation", Race, remoteArrival, []string{"@%p1 fence.mbarrier_init.release.cluster;", ""}},
		{"the fence is another thread's", Race, remoteArrival, []string{"@%p1 fence", "@!%p1 fence"}},
		{"arrived without the barrier of the cluster", BadCluster + BadMbarrier, remoteArrival, []string{"barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.aligned;", ""}},
		{"the wait does not loop", Race + Uninitialised, remoteArrival, []string{"@!%p3 bra WAIT;", ""}},
		{"arrived before the store", Race + Uninitialised, remoteArrival, []string{"st.shared::cluster.u32 [%r7], %r9;", "", "_, [%r8];", "_, [%r8]; st.shared::cluster.u32 [%r7], %r9;"}},
		{"a relaxed arrival at an mbarrier", Race + BadCluster, remoteArrival, []string{"arrive.release.cluster", "arrive.relaxed.cluster"}},
		{"one arrival too many", BadMbarrier, remoteArrival, []string{"@!%p2 bra END;", "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r8], 2; @!%p2 bra END;"}},
		{"one arrival too few", Deadlock, remoteArrival, []string{"[%r3], %r2;", "[%r3], 3;"}},

		{"a counter that a block reads too early", Race, counting, []string{"add.u32 [%r7], %r5;\n\t" + clusterSync, "add.u32 [%r7], %r5; barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.acquire.aligned;"}},
		{"a counter that a block sets too late", Race + Uninitialised + BadCluster, counting, []string{"arrive.release", "arrive.relaxed", "red.relaxed", "setp.ne.u32 %p3, %r1, 0; @%p3 red.relaxed"}},

		{"a stage is released to its own block only", Race + AsyncHazard, multicast, []string{"[%r4], 2;", "[%r4], 1;", "@%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r11];", ""}},
		{"the producer does not wait for room", Race + AsyncHazard + BadMbarrier, multicast, []string{"@!%p2 bra ROOM;", ""}},
		{"a block ends while a peer still arrives", BadCluster, multicast, []string{clusterSync, ""}},
		{"a block does not wait for a multicast", AsyncHazard + Uninitialised + BadCluster, multicast, []string{"@!%p3 bra TAKE;", "setp.eq.u32 %p5, %r1, 0; @%p5 bra SKIP; bra.uni GO; SKIP: @!%p3 bra TAKE; GO:"}},
		{"a block exits although a peer multicasts into it", BadCluster + AsyncHazard + Deadlock, multicast, []string{"NEXT:", "NEXT: setp.eq.u32 %p5, %r1, 1; setp.gt.u32 %p6, %r9, 7; and.pred %p5, %p5, %p6; @%p5 exit;"}},
		{"a mask that names no block", BadTMA, multicast, []string{"mov.u16 %h1, 3;", "mov.u16 %h1, 7;"}},
		{"a block left out of the mask", Deadlock, multicast, []string{"mov.u16 %h1, 3;", "mov.u16 %h1, 1;"}},
		{"fewer bytes expected than come", AsyncHazard + BadMbarrier + Uninitialised + Race + Deadlock, multicast, []string{"[%r3], 512;", "[%r3], 256;"}},
		{"not enough bytes", Deadlock, multicast, []string{"[%r3], 512;", "[%r3], 768;"}},
		{"initialised without a fence", ProxyHazard + Race, multicast, []string{"fence.mbarrier_init.release.cluster;", ""}},
		{"no barrier behind the initialisation", BadCluster + BadMbarrier, multicast, []string{"barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.acquire.aligned;", "bar.sync 0;"}},

		{"no proxy fence before a copy", ProxyHazard, copyAcross, []string{"fence.proxy.async;", ""}},
		{"overwritten while it is copied", AsyncHazard, copyAcross, []string{"bra END;\n\tGET", "st.shared.u32 [%r4], %r4; bra END;\n\tGET"}},
		{"nobody waits for the copy", AsyncHazard + Uninitialised, copyAcross, []string{"@!%p3 bra WAIT;", ""}},
		{"the mbarrier of the wrong block", BadTMA, copyAcross, []string{"128, [%r8];", "128, [%r3];"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			prepare, pointers := oneArgument, []string{"%rd0"}
			if c.body == multicast {
				prepare, pointers = tensor, []string{"%rd0", "%rd1"}
			}
			for seed := range uint64(8) {
				b := newBench(t, Options{Seed: seed}, clusterText("2", c.body, pointers...), c.edits...)
				cfg, a := prepare(b)
				f := b.fails(c.kind, "k", cfg, a)
				if seed == 0 {
					t.Log(f)
				}
			}
		})
	}
}

// A deadlock names the block and line that wait, and another's.
func TestDeadlockOfACluster(t *testing.T) {
	text := clusterText("2", strings.Replace(remoteArrival, "[%r3], %r2;", "[%r3], 3;", 1), "%rd0")
	b := newBench(t, Options{}, text)
	f := b.fails(Deadlock, "k", grid(4, 1, 32), new(driver.Args).Addr(b.alloc("y", 4).Addr()))
	if f.Block != [3]int{0, 0, 0} || !strings.Contains(f.Text, "mbarrier.try_wait") || !strings.Contains(f.Message, "warp 0 of block 1 of the cluster waits at ptx line") {
		t.Errorf("%v", f)
	}
}
