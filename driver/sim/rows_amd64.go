package sim

import "golang.org/x/sys/cpu"

//go:generate go run ./asm -out rows_avx2_amd64.s -stubs rows_avx2_amd64.go -pkg sim

var avx2 = arithmetic{
	add32:    add32Y,
	sub32:    sub32Y,
	mul32:    mul32Y,
	mad32:    mad32Y,
	mulHiU32: mulHiU32Y,
	and32:    and32Y,
	or32:     or32Y,
	xor32:    xor32Y,
	shl32:    shl32Y,
	shrU32:   shrU32Y,
	shrS32:   shrS32Y,
	addF:     addFY,
	subF:     subFY,
	mulF:     mulFY,
	fmaF:     fmaFY,
	maxF:     maxFY,
	minF:     minFY,
	ex2F:     ex2FY,
	ex2FtzF:  ex2FtzFY,
	add64:    add64Y,
	sub64:    sub64Y,
	and64:    and64Y,
	or64:     or64Y,
	xor64:    xor64Y,
	wideU:    wideUY,
	wideS:    wideSY,
	madWideU: madWideUY,
	madWideS: madWideSY,
	mulTile:  mulTileY,
}

func fastest() arithmetic {
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		return avx2
	}
	return portable
}
