package sim

import (
	"math/big"
	"math/bits"
	"testing"

	"dataflex.dev/dataflex/driver"
)

// words are the operands of the opcode tests: edges and bit patterns.
var words = []uint32{
	0, 1, 2, 3, 7, 31, 32, 33, 63, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000, 0x12345678, 0x7fffffff, 0x80000000,
	0x80000001, 0xfffffffe, 0xffffffff, 0xdeadbeef, 0x00ff00ff, 0xaaaaaaaa, 0x55555555, 5, 12, 0x3f800000, 0xbf800000, 9, 0x11, 0x4b000001,
}

// run3 runs code on 32 lanes: %r1, %r2, %r3 contain a, b and c, as do %f1, %f2, %f3, and it
// returns %r0.
func run3(t *testing.T, code string, a, b, c []uint32) []uint32 {
	t.Helper()
	x := newBench(t, Options{}, kernelText(`mov.u32 %r9, %tid.x; mul.wide.u32 %rd9, %r9, 4;
		add.u64 %rd10, %rd0, %rd9; add.u64 %rd11, %rd1, %rd9; add.u64 %rd12, %rd2, %rd9; add.u64 %rd13, %rd3, %rd9;
		ld.global.b32 %r1, [%rd11]; ld.global.b32 %r2, [%rd12]; ld.global.b32 %r3, [%rd13]; mov.b32 %r0, 0;
		mov.b32 %f1, %r1; mov.b32 %f2, %r2; mov.b32 %f3, %r3;
		`+code+`
		st.global.b32 [%rd10], %r0;`, "%rd0", "%rd1", "%rd2", "%rd3"))
	d := x.alloc("d", 128)
	args := new(driver.Args).Addr(d.Addr()).Addr(x.putU32("a", a...).Addr()).Addr(x.putU32("b", b...).Addr()).Addr(x.putU32("c", c...).Addr())
	x.run("k", grid(1, 1, 32), args)
	return x.getU32(d)
}

func turned(w []uint32, n int) []uint32 {
	out := make([]uint32, len(w))
	for i := range w {
		out[i] = w[(i+n)%len(w)]
	}
	return out
}

func s32(v uint32) int64 { return int64(int32(v)) }

func bigShift(lo, hi uint32) *big.Int {
	return new(big.Int).SetUint64(uint64(hi)<<32 | uint64(lo))
}

func TestIntegerInstructions(t *testing.T) {
	type fn = func(a, b, c uint32) uint32
	sel := func(p bool, x, y uint32) uint32 {
		if p {
			return x
		}
		return y
	}
	cases := []struct {
		code string
		want fn
	}{
		{"add.s32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(uint64(a) + uint64(b)) }},
		{"add.sat.s32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 {
			s := s32(a) + s32(b)
			return sel(s > 1<<31-1, 0x7fffffff, sel(s < -1<<31, 0x80000000, uint32(s)))
		}},
		{"sub.u32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(uint64(a) - uint64(b)) }},
		{"mul.lo.s32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(uint64(a) * uint64(b)) }},
		{"mul.hi.u32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { h, _ := bits.Mul32(a, b); return h }},
		{"mul.hi.s32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32((s32(a) * s32(b)) >> 32) }},
		{"mul24.lo.u32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(uint64(a&0xffffff) * uint64(b&0xffffff)) }},
		{"mad.lo.u32 %r0, %r1, %r2, %r3;", func(a, b, c uint32) uint32 { return uint32(uint64(a)*uint64(b) + uint64(c)) }},
		{"mad.hi.u32 %r0, %r1, %r2, %r3;", func(a, b, c uint32) uint32 { h, _ := bits.Mul32(a, b); return h + c }},
		{"mul.wide.u32 %rd5, %r1, %r2; shr.u64 %rd5, %rd5, 16; cvt.u32.u64 %r0, %rd5;", func(a, b, _ uint32) uint32 { return uint32(uint64(a) * uint64(b) >> 16) }},
		{"mul.wide.s32 %rd5, %r1, %r2; shr.s64 %rd5, %rd5, 40; cvt.u32.u64 %r0, %rd5;", func(a, b, _ uint32) uint32 { return uint32(s32(a) * s32(b) >> 40) }},
		{"cvt.u64.u32 %rd6, %r3; mad.wide.s32 %rd5, %r1, %r2, %rd6; shr.u64 %rd5, %rd5, 8; cvt.u32.u64 %r0, %rd5;", func(a, b, c uint32) uint32 { return uint32(uint64(s32(a)*s32(b)+int64(c)) >> 8) }},
		{"cvt.u16.u32 %h1, %r1; cvt.u16.u32 %h2, %r2; mul.wide.u16 %r0, %h1, %h2;", func(a, b, _ uint32) uint32 { return (a & 0xffff) * (b & 0xffff) }},
		{"cvt.u16.u32 %h1, %r1; cvt.u16.u32 %h2, %r2; mul.wide.s16 %r0, %h1, %h2;", func(a, b, _ uint32) uint32 { return uint32(int32(int16(a)) * int32(int16(b))) }},
		{"cvt.u16.u32 %h1, %r1; cvt.u16.u32 %h2, %r2; max.s16 %h3, %h1, %h2; cvt.s32.s16 %r0, %h3;", func(a, b, _ uint32) uint32 { return uint32(int32(max(int16(a), int16(b)))) }},
		{"cvt.u16.u32 %h1, %r1; shr.s16 %h3, %h1, %r2; cvt.u32.u16 %r0, %h3;", func(a, b, _ uint32) uint32 { return uint32(uint16(int16(a) >> b)) }},
		{"cvt.u16.u32 %h1, %r1; cvt.u16.u32 %h2, %r2; add.s16 %h3, %h1, %h2; cvt.u32.u16 %r0, %h3;", func(a, b, _ uint32) uint32 { return uint32(uint16(a + b)) }},
		{"cvt.u16.u32 %h1, %r1; not.b16 %h3, %h1; cvt.u32.u16 %r0, %h3;", func(a, _, _ uint32) uint32 { return ^a & 0xffff }},
		{"or.b32 %r2, %r2, 1; div.u32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return a / (b | 1) }},
		{"or.b32 %r2, %r2, 1; div.s32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(s32(a) / s32(b|1)) }},
		{"or.b32 %r2, %r2, 1; rem.u32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return a % (b | 1) }},
		{"or.b32 %r2, %r2, 1; rem.s32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(s32(a) % s32(b|1)) }},
		{"and.b32 %r0, %r1, %r2; xor.b32 %r0, %r0, %r3;", func(a, b, c uint32) uint32 { return a&b ^ c }},
		{"or.b32 %r0, %r1, %r2; not.b32 %r0, %r0;", func(a, b, _ uint32) uint32 { return ^(a | b) }},
		{"cnot.b32 %r0, %r1;", func(a, _, _ uint32) uint32 { return sel(a == 0, 1, 0) }},
		{"neg.s32 %r0, %r1;", func(a, _, _ uint32) uint32 { return uint32(-s32(a)) }},
		{"abs.s32 %r0, %r1;", func(a, _, _ uint32) uint32 { return uint32(max(s32(a), -s32(a))) }},
		{"min.s32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(min(s32(a), s32(b))) }},
		{"max.u32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return max(a, b) }},
		{"shl.b32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(uint64(a) << min(b, 63)) }},
		{"shr.u32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(uint64(a) >> min(b, 63)) }},
		{"shr.s32 %r0, %r1, %r2;", func(a, b, _ uint32) uint32 { return uint32(s32(a) >> min(b, 63)) }},
		{"shf.l.wrap.b32 %r0, %r1, %r2, %r3;", func(a, b, c uint32) uint32 {
			return uint32(new(big.Int).Rsh(new(big.Int).Lsh(bigShift(a, b), uint(c&31)), 32).Uint64())
		}},
		{"shf.r.clamp.b32 %r0, %r1, %r2, %r3;", func(a, b, c uint32) uint32 {
			return uint32(new(big.Int).Rsh(bigShift(a, b), uint(min(c, 32))).Uint64())
		}},
		{"bfe.u32 %r0, %r1, %r2, %r3;", func(a, b, c uint32) uint32 {
			var r uint32
			for i := range min(c&255, 32) {
				if p := b&255 + i; p < 32 {
					r |= a >> p & 1 << i
				}
			}
			return r
		}},
		{"bfe.s32 %r0, %r1, %r2, %r3;", func(a, b, c uint32) uint32 {
			pos, n := b&255, c&255
			if n == 0 {
				return 0
			}
			sign := a >> min(pos+n-1, 31) & 1
			var r uint32
			for i := range uint32(32) {
				bit := sign
				if i < n && pos+i <= 31 {
					bit = a >> (pos + i) & 1
				}
				r |= bit << i
			}
			return r
		}},
		{"bfi.b32 %r0, %r1, %r2, %r3, 5;", func(a, b, c uint32) uint32 {
			r := b
			for i := range uint32(5) {
				if p := c&255 + i; p < 32 {
					r = r&^(1<<p) | a>>i&1<<p
				}
			}
			return r
		}},
		{"prmt.b32 %r0, %r1, %r2, 0x7604;", func(a, b, _ uint32) uint32 { return b&0xff | a&0xff<<8 | b>>16&0xff<<16 | b>>24<<24 }},
		{"prmt.b32 %r0, %r1, %r2, 0x9180;", func(a, _, _ uint32) uint32 {
			s := func(v uint32) uint32 { return sel(v&0x80 != 0, 0xff, 0) }
			return a&0xff | s(a&0xff)<<8 | a>>8&0xff<<16 | s(a>>8&0xff)<<24
		}},
		{"lop3.b32 %r0, %r1, %r2, %r3, 0x96;", func(a, b, c uint32) uint32 { return a ^ b ^ c }},
		{"lop3.b32 %r0, %r1, %r2, %r3, 0xca;", func(a, b, c uint32) uint32 { return a&b | ^a&c }},
		{"popc.b32 %r0, %r1;", func(a, _, _ uint32) uint32 {
			var n uint32
			for ; a != 0; a >>= 1 {
				n += a & 1
			}
			return n
		}},
		{"clz.b32 %r0, %r1;", func(a, _, _ uint32) uint32 {
			var n uint32
			for ; n < 32 && a>>(31-n)&1 == 0; n++ {
			}
			return n
		}},
		{"brev.b32 %r0, %r1;", func(a, _, _ uint32) uint32 {
			var r uint32
			for i := range 32 {
				r |= a >> i & 1 << (31 - i)
			}
			return r
		}},
		{"bfind.u32 %r0, %r1;", func(a, _, _ uint32) uint32 { return uint32(bits.Len32(a) - 1) }},
		{"sad.u32 %r0, %r1, %r2, %r3;", func(a, b, c uint32) uint32 { return c + max(a, b) - min(a, b) }},
		{"dp4a.s32.u32 %r0, %r1, %r2, %r3;", func(a, b, c uint32) uint32 {
			for i := 0; i < 32; i += 8 {
				c += uint32(int32(int8(a>>i)) * int32(b>>i&0xff))
			}
			return c
		}},
		{"add.cc.u32 %r4, %r1, %r2; addc.u32 %r0, %r3, 0;", func(a, b, c uint32) uint32 { return c + uint32((uint64(a)+uint64(b))>>32) }},
		{"sub.cc.u32 %r4, %r1, %r2; subc.u32 %r0, %r3, 0;", func(a, b, c uint32) uint32 { return c - sel(a < b, 1, 0) }},
		{"mad.lo.cc.u32 %r4, %r1, %r2, %r3; madc.hi.u32 %r0, %r1, %r2, 0;", func(a, b, c uint32) uint32 {
			return uint32((uint64(a)*uint64(b) + uint64(c)) >> 32)
		}},
		{"setp.lt.s32 %p1, %r1, %r2; selp.b32 %r0, %r1, %r3, %p1;", func(a, b, c uint32) uint32 { return sel(s32(a) < s32(b), a, c) }},
		{"setp.ge.u32 %p2, %r1, %r3; setp.hi.and.u32 %p1|%p3, %r1, %r2, %p2; selp.b32 %r0, 1, 0, %p1; @%p3 or.b32 %r0, %r0, 2;", func(a, b, c uint32) uint32 {
			return sel(a > b && a >= c, 1, 0) | sel(!(a > b) && a >= c, 2, 0)
		}},
		{"set.eq.u32.u32 %r0, %r1, %r1;", func(_, _, _ uint32) uint32 { return 0xffffffff }},
		{"setp.lt.u32 %p1, %r1, 32; mov.pred %p2, 0; @%p1 mov.pred %p2, -1; mov.pred %p3, %p2; selp.b32 %r0, %r1, %r2, %p3;", func(a, b, _ uint32) uint32 { return sel(a < 32, a, b) }},
		{"mov.b64 %rd5, {%r1, %r2}; mov.b64 {%r4, %r0}, %rd5; add.u32 %r0, %r0, %r4;", func(a, b, _ uint32) uint32 { return a + b }},
		{"mov.b32 {%h1, %h2}, %r1; mov.b32 %r0, {%h2, %h1};", func(a, _, _ uint32) uint32 { return a<<16 | a>>16 }},
		{"cvt.s32.s8 %r0, %r1;", func(a, _, _ uint32) uint32 { return uint32(int32(int8(a))) }},
		{"cvt.u32.u8 %r0, %r1;", func(a, _, _ uint32) uint32 { return a & 0xff }},
		{"cvt.sat.u8.s32 %r0, %r1;", func(a, _, _ uint32) uint32 { return uint32(min(max(s32(a), 0), 255)) }},
		{"cvt.s64.s32 %rd5, %r1; shr.u64 %rd5, %rd5, 20; cvt.u32.u64 %r0, %rd5;", func(a, _, _ uint32) uint32 { return uint32(uint64(s32(a)) >> 20) }},
		{"cvt.u64.u32 %rd5, %r1; cvt.u64.u32 %rd6, %r2; shl.b64 %rd5, %rd5, 20; add.u64 %rd5, %rd5, %rd6; mul.lo.u64 %rd5, %rd5, %rd6; mul.hi.u64 %rd7, %rd5, %rd5; cvt.u32.u64 %r0, %rd7;", func(a, b, _ uint32) uint32 {
			v := (uint64(a)<<20 + uint64(b)) * uint64(b)
			return uint32(new(big.Int).Rsh(new(big.Int).Mul(new(big.Int).SetUint64(v), new(big.Int).SetUint64(v)), 64).Uint64())
		}},
		{"cvt.u64.u32 %rd5, %r1; popc.b64 %r0, %rd5; clz.b64 %r4, %rd5; add.u32 %r0, %r0, %r4;", func(a, _, _ uint32) uint32 {
			return uint32(bits.OnesCount32(a) + 32 + bits.LeadingZeros32(a))
		}},
	}
	for _, c := range cases {
		for _, turn := range [][2]int{{1, 2}, {7, 13}, {20, 5}} {
			b, d := turned(words, turn[0]), turned(words, turn[1])
			got := run3(t, c.code, words, b, d)
			for i := range got {
				if want := c.want(words[i], b[i], d[i]); got[i] != want {
					t.Errorf("%s of %#x, %#x, %#x: %#x, want %#x", c.code, words[i], b[i], d[i], got[i], want)
				}
			}
		}
	}
}
