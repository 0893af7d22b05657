package sim

// Instructions and special registers of clusters; barrier.cluster is in cluster.go.

var clusterOpcodes = map[string]func(*decoder){"mapa": decodeMapa, "getctarank": decodeRank}

// clusterSpecials are the special registers of clusters.
func init() {
	dims := [3]string{".x", ".y", ".z"}
	for d, name := range dims {
		extent := func(b *block) int { return b.cluster.dims[d] }
		specials["clusterid"+name] = func(b *block, _ *warp, _ int) uint32 { return uint32(b.ctaid[d] / extent(b)) }
		specials["nclusterid"+name] = func(b *block, _ *warp, _ int) uint32 { return uint32(b.nctaid[d] / extent(b)) }
		specials["cluster_ctaid"+name] = func(b *block, _ *warp, _ int) uint32 { return uint32(b.ctaid[d] % extent(b)) }
		specials["cluster_nctaid"+name] = func(b *block, _ *warp, _ int) uint32 { return uint32(extent(b)) }
	}
	specials["cluster_ctarank"] = func(b *block, _ *warp, _ int) uint32 { return uint32(b.rank) }
	specials["cluster_nctarank"] = func(b *block, _ *warp, _ int) uint32 { return uint32(len(b.cluster.blocks)) }
}

// explicitCluster is mov.pred of %is_explicit_cluster: the kernel has .reqnctapercluster, or
// runs without clusters.
func (d *decoder) explicitCluster() {
	d.o.d = d.dst(0, tPred)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		w.p[o.d] &^= m
		if b.k.explicit {
			w.p[o.d] |= m
		}
		return next
	}
}

// decodeMapa maps an address of the block's shared memory to the same place in another block
// of the cluster.
func decodeMapa(d *decoder) {
	d.opt("shared::cluster")
	t := d.typ(tU32, tU64)
	d.o.d, d.o.a, d.o.b = d.dst(0, t), d.src(1, t), d.src(2, tU32)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		for ; m != 0; m &= m - 1 {
			i := firstLane(m)
			rank := w.r32[o.b][i]
			if int(rank) >= len(b.cluster.blocks) {
				b.fault(w, o, i, BadCluster, "block %d of a cluster of %d", rank, len(b.cluster.blocks))
			}
			tag := uint64(rank+1) << rankShift
			if int(rank) == b.rank {
				tag = 0
			}
			from := w.wide(t, o.a, i)
			if from&windowMask < sharedBase || from&windowMask>>rankShift != 0 || t.size() == 8 && from>>windowShift != 0 && from>>windowShift != sharedWindow>>windowShift {
				b.fault(w, o, i, IllegalAddress, "%#x is not an address of the block's own shared memory", from)
			}
			w.setWide(t, o.d, i, from|tag)
		}
		return next
	}
}

// decodeRank gives the rank of the block to which an address of shared::cluster belongs.
func decodeRank(d *decoder) {
	d.opt("shared::cluster")
	t := d.typ(tU32, tU64)
	d.o.d, d.o.a = d.dst(0, tU32), d.src(1, t)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		for ; m != 0; m &= m - 1 {
			i := firstLane(m)
			rank := uint32(b.rank)
			if tag := w.wide(t, o.a, i) & windowMask >> rankShift; tag != 0 {
				rank = uint32(tag) - 1
			}
			w.r32[o.d][i] = rank
		}
		return next
	}
}
