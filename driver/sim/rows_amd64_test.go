package sim

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestRowsAgree: the assembly gives the same bits as the portable rows, for numbers of every
// kind.
func TestRowsAgree(t *testing.T) {
	if fastest().add32 == nil || reflect.ValueOf(fastest().add32).Pointer() == reflect.ValueOf(portable.add32).Pointer() {
		t.Skip("no AVX2")
	}
	r := rand.New(rand.NewPCG(1, 1))
	word := func() uint32 {
		switch r.IntN(4) {
		case 0:
			return words[r.IntN(len(words))]
		case 1: // nearby floats: equal exponents, few digits
			return uint32(r.IntN(2))<<31 | uint32(100+r.IntN(56))<<23 | uint32(r.IntN(16))<<19 | uint32(r.IntN(2))
		case 2: // exponents over all of ex2's range
			return u32(float32(r.Float64()*320 - 160))
		}
		return r.Uint32()
	}
	fill := func() (x row, y row64) {
		for i := range x {
			x[i], y[i] = word(), uint64(word())<<32|uint64(word())
		}
		return
	}
	p := reflect.ValueOf(portable)
	for n := range 3000 {
		a, a64 := fill()
		b, b64 := fill()
		c, c64 := fill()
		for i := range p.NumField() {
			name := p.Type().Field(i).Name
			var want, got row
			var want64, got64 row64
			switch p.Field(i).Type().String() {
			case "func(*[32]uint32, *[32]uint32, *[32]uint32, *[32]uint32)":
				field(&portable, i, func(f func(d, a, b, c *row)) { f(&want, &a, &b, &c) })
				field(&avx2, i, func(f func(d, a, b, c *row)) { f(&got, &a, &b, &c) })
			case "func(*[32]uint64, *[32]uint64, *[32]uint64, *[32]uint64)":
				field(&portable, i, func(f func(d, a, b, c *row64)) { f(&want64, &a64, &b64, &c64) })
				field(&avx2, i, func(f func(d, a, b, c *row64)) { f(&got64, &a64, &b64, &c64) })
			case "func(*[16][8]float32, *[16][32]float32, *[8][32]float32, int)":
				continue // see TestMulTileAgrees
			default:
				field(&portable, i, func(f func(d *row64, a, b *row, c *row64)) { f(&want64, &a, &b, &c64) })
				field(&avx2, i, func(f func(d *row64, a, b *row, c *row64)) { f(&got64, &a, &b, &c64) })
			}
			for l := range 32 {
				if got[l] != want[l] || got64[l] != want64[l] {
					t.Fatalf("%d: %s(%#x, %#x, %#x) is %#x and %#x, want %#x and %#x", n, name, a[l], b[l], c[l], got[l], got64[l], want[l], want64[l])
				}
			}
		}
	}
}

// field calls use with the ith function of a set.
func field[F any](s *arithmetic, i int, use func(F)) {
	v := reflect.ValueOf(s).Elem().Field(i)
	use(*(*F)(v.Addr().UnsafePointer()))
}

func TestMulTileAgrees(t *testing.T) {
	if fastest().mulTile == nil || reflect.ValueOf(fastest().mulTile).Pointer() == reflect.ValueOf(portable.mulTile).Pointer() {
		t.Skip("no AVX2")
	}
	r := rand.New(rand.NewPCG(2, 2))
	for _, k := range []int{1, 8, 16, 32} {
		var a tile
		var b [8][32]float32
		for i := range a {
			for j := range a[i] {
				a[i][j], b[i%8][j] = float32(r.NormFloat64()), float32(r.NormFloat64())
			}
		}
		var got, want [16][8]float32
		mulTileY(&got, &a, &b, k)
		mulTile(&want, &a, &b, k)
		if got != want {
			t.Errorf("k = %d: %v, want %v", k, got, want)
		}
	}
}
