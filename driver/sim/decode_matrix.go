package sim

// mma.sync and the instructions that load and store its fragments.

var matrixOpcodes = map[string]func(*decoder){
	"mma": decodeMma, "ldmatrix": decodeLdmatrix, "stmatrix": decodeStmatrix, "movmatrix": decodeMovmatrix,
}

// mmaOp is mma.sync.m16n8kK. A register holds per elements; in A, register r holds row
// lane/4 + 8 (r mod 2) and the columns from per (lane mod 4) + 4 per (r/2), in B columns
// lane/4 and rows likewise, in C and D rows as in A and columns 2 (lane mod 4).
type mmaOp struct {
	k, per     int
	at, bt     typ
	decodeA    func(u uint32) float32 // value of one element's bits; nil for integers
	decodeB    func(u uint32) float32
	half       bool // accumulators are f16
	d, a, b, c []int32
}

// elementsPerRegister, for the operand types of mma and wgmma.
var elementsPerRegister = map[typ]int{tF16: 2, tBF16: 2, tTF32: 1, tE4M3: 4, tE5M2: 4, tS8: 4, tU8: 4}

func elementDecoder(t typ) func(u uint32) float32 {
	switch t {
	case tF16, tBF16:
		return t.half().decode
	case tTF32:
		return func(u uint32) float32 { return f32(u &^ 0x1fff) }
	case tE4M3:
		return formatE4M3.decode
	case tE5M2:
		return formatE5M2.decode
	}
	return nil
}

func decodeMma(d *decoder) {
	d.one("sync")
	d.one("aligned")
	shape := d.one("m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32")
	d.one("row")
	d.one("col")
	x := &mmaOp{k: map[string]int{"m16n8k4": 4, "m16n8k8": 8, "m16n8k16": 16, "m16n8k32": 32}[shape]}
	integers := d.opt("satfinite")
	dt := d.typ(tF16, tF32, tS32)
	x.at = d.typ(tF16, tBF16, tTF32, tE4M3, tE5M2, tS8, tU8)
	x.bt = d.typ(tF16, tBF16, tTF32, tE4M3, tE5M2, tS8, tU8)
	ct := d.typ(tF16, tF32, tS32)
	x.per = elementsPerRegister[x.at]
	isInt := x.at == tS8 || x.at == tU8
	switch {
	case ct != dt, x.per != elementsPerRegister[x.bt], isInt != (dt == tS32), isInt != (x.bt == tS8 || x.bt == tU8):
		d.fail("types .%s.%s.%s.%s do not match", dt, x.at, x.bt, ct)
	case x.per < 4 && x.at != x.bt, dt == tF16 && x.at != tF16, integers && !isInt:
		d.fail("types .%s.%s.%s.%s do not match", dt, x.at, x.bt, ct)
	case x.k != 4*x.per && x.k != 8*x.per:
		d.fail("%s of .%s", shape, x.at)
	}
	if integers {
		d.fail(".satfinite is not supported")
	}
	x.decodeA, x.decodeB = elementDecoder(x.at), elementDecoder(x.bt)
	x.half = dt == tF16
	nc, acc := 4, tF32
	if x.half {
		nc, acc = 2, tB32
	}
	if isInt {
		acc = tS32
	}
	na := x.k / (2 * x.per)
	x.d, x.a, x.b, x.c = d.list(0, nc, acc), d.list(1, na, tB32), d.list(2, na/2, tB32), d.list(3, nc, acc)
	d.o.ext, d.o.warpFlops, d.o.flops = x, true, int32(2*16*8*x.k)
	d.fullWarp(runMma)
	if isInt {
		d.fullWarp(runMmaInt)
	}
}

// tile is up to 16 rows of up to 32 elements along k.
type tile = [16][32]float32

func runMma(b *block, w *warp, o *op, _ uint32) status {
	x := o.ext.(*mmaOp)
	at, bt := &b.tileA, &b.tileB8
	unpackTile(w, x.a, x.per, 2, at, x.at, x.decodeA)
	unpackTile(w, x.b, x.per, 1, bt, x.bt, x.decodeB)
	s := &b.sums
	fast.mulTile(s, at, (*[8][32]float32)(bt[:]), x.k)
	if x.half {
		for lane := range 32 {
			r, c := lane>>2, lane&3*2
			w.addHalves(x.d[0], x.c[0], lane, s[r][c], s[r][c+1])
			w.addHalves(x.d[1], x.c[1], lane, s[r+8][c], s[r+8][c+1])
		}
		return next
	}
	d0, d1, d2, d3 := &w.r32[x.d[0]], &w.r32[x.d[1]], &w.r32[x.d[2]], &w.r32[x.d[3]]
	c0, c1, c2, c3 := &w.r32[x.c[0]], &w.r32[x.c[1]], &w.r32[x.c[2]], &w.r32[x.c[3]]
	for lane := range 32 {
		r, c := lane>>2, lane&3*2
		up, low := (*[2]float32)(s[r][c:]), (*[2]float32)(s[r+8][c:])
		d0[lane], d1[lane] = number(up[0]+f32(c0[lane])), number(up[1]+f32(c1[lane]))
		d2[lane], d3[lane] = number(low[0]+f32(c2[lane])), number(low[1]+f32(c3[lane]))
	}
	return next
}

// addHalves adds two sums to a pair of f16 accumulators.
func (w *warp) addHalves(d, c int32, lane int, lo, hi float32) {
	v := w.r32[c][lane]
	w.r32[d][lane] = formatF16.encode(float64(lo+half16[v&0xffff]), nearestEven, false) |
		formatF16.encode(float64(hi+half16[v>>16]), nearestEven, false)<<16
}

// unpackTile writes fragment registers to rows of a tile; blocks is the number of groups of
// eight rows between which the registers alternate: 2 for A, 1 for B.
func unpackTile(w *warp, regs []int32, per, blocks int, t *tile, et typ, decode func(uint32) float32) {
	width := 32 / per
	for r, slot := range regs {
		src := &w.r32[slot]
		row, col := r%blocks*8, r/blocks*4*per
		if et == tBF16 {
			for g := range 8 {
				d, s := (*[8]float32)(t[row+g][col:]), (*[4]uint32)(src[4*g:])
				d[0], d[1] = f32(s[0]<<16), f32(s[0]&0xffff0000)
				d[2], d[3] = f32(s[1]<<16), f32(s[1]&0xffff0000)
				d[4], d[5] = f32(s[2]<<16), f32(s[2]&0xffff0000)
				d[6], d[7] = f32(s[3]<<16), f32(s[3]&0xffff0000)
			}
			continue
		}
		mask := uint32(uint64(1)<<width - 1)
		for lane, v := range src {
			d, j := &t[row+lane>>2], col+lane&3*per
			for e := range per {
				d[j+e] = decode(v >> (e * width) & mask)
			}
		}
	}
}

// mulTile is s = a times 8 columns, which are the rows of b, over k steps.
func mulTile(s *[16][8]float32, a *tile, b *[8][32]float32, k int) {
	for r := range 8 {
		for c := 0; c < 8; c += 2 {
			v := dot22(&a[r], &a[r+8], &b[c], &b[c+1], k)
			s[r][c], s[r][c+1], s[r+8][c], s[r+8][c+1] = v[0], v[1], v[2], v[3]
		}
	}
}

// dot22 is the products of two rows and two columns along k, each summed in order.
func dot22(a0, a1, b0, b1 *[32]float32, k int) (s [4]float32) {
	var s0, s1, s2, s3 float32
	for i := 0; i < k && i < 32; i++ {
		x0, x1, y0, y1 := a0[i], a1[i], b0[i], b1[i]
		s0 += float32(x0 * y0)
		s1 += float32(x0 * y1)
		s2 += float32(x1 * y0)
		s3 += float32(x1 * y1)
	}
	s[0], s[1], s[2], s[3] = s0, s1, s2, s3
	return s
}

func runMmaInt(_ *block, w *warp, o *op, _ uint32) status {
	x := o.ext.(*mmaOp)
	ext := func(v uint32, t typ) int32 {
		if t == tS8 {
			return int32(int8(v))
		}
		return int32(uint8(v))
	}
	at := func(regs []int32, rows, r, k int, t typ) int32 {
		reg := r/8 + k/16*rows
		return ext(w.r32[regs[reg]][r%8*4+k%16/4]>>(8*(k%4)), t)
	}
	var out [4]row
	for lane := range 32 {
		for q := range 4 {
			r, c := lane>>2+q/2*8, lane&3*2+q&1
			s := int32(w.r32[x.c[q]][lane])
			for k := range x.k {
				s += at(x.a, 2, r, k, x.at) * at(x.b, 1, c, k, x.bt)
			}
			out[q][lane] = uint32(s)
		}
	}
	for q := range out {
		w.r32[x.d[q]] = out[q]
	}
	return next
}

type matrixOp struct {
	n     int // matrices
	trans bool
	regs  []int32
}

func (d *decoder) matrix(store bool) {
	d.one("sync")
	d.one("aligned")
	d.one("m8n8")
	x := &matrixOp{n: map[string]int{"x1": 1, "x2": 2, "x4": 4}[d.one("x1", "x2", "x4")]}
	x.trans = d.opt("trans")
	d.one("shared", "shared::cta")
	d.typ(tB16)
	mem, val := 1, 0
	if store {
		mem, val = 0, 1
	}
	x.regs = d.list(val, x.n, tB32)
	d.o.mem, d.o.ext = &access{size: 4, n: uint8(x.n), store: store}, x
	d.accessTo(d.arg(mem), spaceShared, d.o.mem)
}

func decodeLdmatrix(d *decoder) { d.matrix(false); d.fullWarp(runLdmatrix) }
func decodeStmatrix(d *decoder) { d.matrix(true); d.fullWarp(runStmatrix) }

// matrixRows checks the addresses of the rows, one per lane, and returns their offsets.
func (b *block) matrixRows(w *warp, o *op, x *matrixOp) (at [32]int) {
	w.addresses(o.mem)
	for i := range 8 * x.n {
		at[i] = b.sharedAddress(w, o, i, w.addr[i], 16)
	}
	if b.count {
		c := &b.counts[o.index]
		c.requests++
		for g := range x.n {
			c.ideal++
			c.units += uint64(passes(w.addr[8*g:8*g+8], 0xff, 4))
		}
	}
	return at
}

func runLdmatrix(b *block, w *warp, o *op, _ uint32) status {
	x := o.ext.(*matrixOp)
	at := b.matrixRows(w, o, x)
	if b.check {
		for i := range 8 * x.n {
			if !allWritten(b.state[at[i] : at[i]+16]) {
				b.badState(w, o, i, at[i], 16)
			}
			for j := range 4 { // the lanes that receive the row
				b.noteRead(w, o, i&7*4+j, at[i]+4*j, 4)
			}
		}
	}
	for q, slot := range x.regs {
		d, rows := &w.r32[slot], at[8*q:8*q+8]
		for i := range d {
			if x.trans {
				lo := le.Uint16(b.smem[rows[i&3*2]+i>>2*2:])
				hi := le.Uint16(b.smem[rows[i&3*2+1]+i>>2*2:])
				d[i] = uint32(lo) | uint32(hi)<<16
			} else {
				d[i] = le.Uint32(b.smem[rows[i>>2]+i&3*4:])
			}
		}
	}
	return next
}

func runStmatrix(b *block, w *warp, o *op, _ uint32) status {
	x := o.ext.(*matrixOp)
	at := b.matrixRows(w, o, x)
	for i := range 8 * x.n {
		st := b.state[at[i] : at[i]+16]
		if b.check {
			if !plainState(st) {
				b.badState(w, o, i, at[i], 16)
			}
			for j := range 4 {
				b.noteWrite(w, o, i&7*4+j, at[i]+4*j, 4, false)
			}
		}
		setWritten(st)
	}
	for q, slot := range x.regs {
		s, rows := &w.r32[slot], at[8*q:8*q+8]
		for i, v := range s {
			if x.trans {
				le.PutUint16(b.smem[rows[i&3*2]+i>>2*2:], uint16(v))
				le.PutUint16(b.smem[rows[i&3*2+1]+i>>2*2:], uint16(v>>16))
			} else {
				le.PutUint32(b.smem[rows[i>>2]+i&3*4:], v)
			}
		}
	}
	b.progress = true
	return next
}

// decodeMovmatrix transposes an 8x8 matrix held by a warp.
func decodeMovmatrix(d *decoder) {
	d.one("sync")
	d.one("aligned")
	d.one("m8n8")
	d.one("trans")
	d.typ(tB16)
	d.o.d, d.o.a = d.dst(0, tB32), d.src(1, tB32)
	d.fullWarp(func(_ *block, w *warp, o *op, _ uint32) status {
		src := w.r32[o.a]
		half := func(r, c int) uint32 { return src[r*4+c/2] >> (16 * (c & 1)) & 0xffff }
		for i := range 32 {
			w.r32[o.d][i] = half(i&3*2, i>>2) | half(i&3*2+1, i>>2)<<16
		}
		return next
	})
}
