package rng

import "math/bits"

// PCG64 is numpy.random.default_rng(seed): PCG XSL-RR 128/64 seeded through SeedSequence.
// Methods consume the stream as NumPy's Generator does (checked against NumPy 1.26.4).
type PCG64 struct {
	stateHi, stateLo uint64
	incHi, incLo     uint64
	half             uint32 // the high half of the last split word
	hasHalf          bool
}

// NewPCG64 is numpy.random.default_rng(seed).
func NewPCG64(seed uint64) *PCG64 {
	w := seedSequence(seed)
	g := &PCG64{}
	g.incHi = w[2]<<1 | w[3]>>63
	g.incLo = w[3]<<1 | 1
	g.step()
	var carry uint64
	g.stateLo, carry = bits.Add64(g.stateLo, w[1], 0)
	g.stateHi, _ = bits.Add64(g.stateHi, w[0], carry)
	g.step()
	return g
}

func (g *PCG64) step() {
	const mulHi, mulLo = 2549297995355413924, 4865540595714422341
	hi, lo := bits.Mul64(g.stateLo, mulLo)
	hi += g.stateHi*mulLo + g.stateLo*mulHi
	var carry uint64
	g.stateLo, carry = bits.Add64(lo, g.incLo, 0)
	g.stateHi, _ = bits.Add64(hi, g.incHi, carry)
}

// Uint64 returns the next word.
func (g *PCG64) Uint64() uint64 {
	g.step()
	return bits.RotateLeft64(g.stateHi^g.stateLo, -int(g.stateHi>>58))
}

// Uint32 returns the next half word: a word's low half first, its high half at the next call.
func (g *PCG64) Uint32() uint32 {
	if g.hasHalf {
		g.hasHalf = false
		return g.half
	}
	w := g.Uint64()
	g.half, g.hasHalf = uint32(w>>32), true
	return uint32(w)
}

// seedSequence is numpy.random.SeedSequence(seed).generate_state(4, uint64), its words
// of 32 bits joined low half first.
func seedSequence(seed uint64) [4]uint64 {
	const (
		initA, multA = 0x43b0d7e5, 0x931e8875
		initB, multB = 0x8b51f9dd, 0x58f38ded
		mixL, mixR   = 0xca01f9dd, 0x4973f715
	)
	hashConst := uint32(initA)
	hash := func(v uint32) uint32 {
		v ^= hashConst
		hashConst *= multA
		v *= hashConst
		return v ^ v>>16
	}
	// entropy: the seed's 32-bit words, low first, padded with zeros to the pool's size
	pool := [4]uint32{uint32(seed), uint32(seed >> 32)}
	for i := range pool {
		pool[i] = hash(pool[i])
	}
	for src := range pool {
		for dst := range pool {
			if src != dst {
				v := pool[dst]*mixL - hash(pool[src])*mixR
				pool[dst] = v ^ v>>16
			}
		}
	}
	var out [4]uint64
	hashConst = initB
	for i := range 8 {
		v := pool[i%4] ^ hashConst
		hashConst *= multB
		v *= hashConst
		v ^= v >> 16
		out[i/2] |= uint64(v) << (32 * (i % 2))
	}
	return out
}
