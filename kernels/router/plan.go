package router

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Plan is the tokens' order by expert: place i of T·K belongs to token Token[i], and
// places Offsets[e] to Offsets[e+1] to expert e, tokens in their order. Slot is the
// way back: the place of token t's k-th choice is Slot[t·K+k].
//
// Tiles cuts every expert's places into tiles of TileRows for products: an expert and its
// tile's first place, tile after tile; the expert of what is left over is -1.
type Plan struct {
	Token, Slot, Offsets, Tiles driver.I32
	TopK                        int
}

// TileRows is the number of places of a tile.
const TileRows = 128

// MaxDeviceExperts is the most experts that the device's kernel has room for; the host takes any
// number.
const MaxDeviceExperts = 1024

// tiles is the most tiles that the choices can take.
func (p Params) tiles() int {
	choices := p.Tokens * p.TopK
	return choices/TileRows + min(p.Experts, choices)
}

// PlanSize is how many numbers a plan has.
func (p Params) PlanSize() int { return 2*p.Tokens*p.TopK + p.Experts + 1 + 2*p.tiles() }

// Group overwrites memory [PlanSize] with the plan of choice [T·K].
func Group(dev driver.Device, p Params, choice, memory driver.I32) Plan {
	n, at := p.Tokens*p.TopK, 0
	if choice.Len() != n || memory.Len() != p.PlanSize() {
		panic("router: choice is not [T, K], or the plan's memory not PlanSize")
	}
	cut := func(size int) driver.I32 {
		at += size
		return memory.Sub(at-size, at)
	}
	plan := Plan{Token: cut(n), Slot: cut(n), Offsets: cut(p.Experts + 1), Tiles: cut(2 * p.tiles()), TopK: p.TopK}
	dispatch.Run(dev, "router.Group", func(*cpu.Device) {
		plan.groupHost(p, choice.Host())
	}, func(c driver.Launcher) {
		plan.groupPTX(c, p, choice)
	})
	return plan
}

func (plan Plan) groupHost(p Params, choice []int32) {
	offsets := plan.Offsets.Host()
	clear(offsets)
	for _, e := range choice {
		offsets[e+1]++
	}
	tiles := plan.Tiles.Host()
	for i := range tiles {
		tiles[i] = -1
	}
	for e := range p.Experts {
		end := offsets[e] + offsets[e+1]
		for at := offsets[e]; at < end; at += TileRows {
			tiles[0], tiles[1] = int32(e), at
			tiles = tiles[2:]
		}
		offsets[e+1] = end
	}
	slot, token := plan.Slot.Host(), plan.Token.Host()
	next := append([]int32(nil), offsets[:p.Experts]...)
	for i, e := range choice {
		slot[i], token[next[e]] = next[e], int32(i/p.TopK)
		next[e]++
	}
}
