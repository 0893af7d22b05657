package sim

// arithmetic is the functions in which kernels spend most of their time, for full rows.
// Every set gives the same bits.
type arithmetic struct {
	add32, sub32, mul32, mad32, mulHiU32              func(d, a, b, c *row)
	and32, or32, xor32, shl32, shrU32, shrS32         func(d, a, b, c *row)
	addF, subF, mulF, fmaF, maxF, minF, ex2F, ex2FtzF func(d, a, b, c *row)
	add64, sub64, and64, or64, xor64                  func(d, a, b, c *row64)
	wideU, wideS, madWideU, madWideS                  func(d *row64, a, b *row, c *row64)

	mulTile func(s *[16][8]float32, a *tile, b *[8][32]float32, k int)
}

var portable = arithmetic{
	add32:    add32,
	sub32:    sub32,
	mul32:    mul32,
	mad32:    mad32,
	mulHiU32: mulHiU32,
	and32:    and32,
	or32:     or32,
	xor32:    xor32,
	shl32:    shl32,
	shrU32:   shrU32,
	shrS32:   shrS32,
	addF:     addF,
	subF:     subF,
	mulF:     mulF,
	fmaF:     fmaF,
	maxF:     maxF,
	minF:     minF,
	ex2F:     ex2F,
	ex2FtzF:  ex2FtzF,
	add64:    add64,
	sub64:    sub64,
	and64:    and64,
	or64:     or64,
	xor64:    xor64,
	wideU:    wideU,
	wideS:    wideS,
	madWideU: madWideU,
	madWideS: madWideS,
	mulTile:  mulTile,
}

// fast is the fastest set for this machine.
var fast = fastest()
