package gemm

import "dataflex.dev/dataflex/kernels/simd"

var (
	avx2Tiles = tileSet{
		{16, []kernel{y16r1, y16r2, y16r3, y16r4, y16r5, y16r6}},
		{8, []kernel{y8r1, y8r2, y8r3, y8r4, y8r5, y8r6, y8r7, y8r8, y8r9, y8r10, y8r11, y8r12, y8r13, y8r14}},
	}
	avx512Tiles = tileSet{
		{32, []kernel{z32r1, z32r2, z32r3, z32r4, z32r5, z32r6, z32r7, z32r8, z32r9, z32r10, z32r11, z32r12, z32r13, z32r14}},
		{16, []kernel{z16r1, z16r2, z16r3, z16r4, z16r5, z16r6, z16r7, z16r8, z16r9, z16r10, z16r11, z16r12, z16r13, z16r14}},
		avx2Tiles[1],
	}
)

// vectors says that copy16 and transpose8 can run.
func vectors() bool { return simd.Level() != "generic" }

// vectorTiles is the set for a level, nil for the portable one.
func vectorTiles(level string) tileSet {
	switch level {
	case "avx2":
		return avx2Tiles
	case "avx512":
		return avx512Tiles
	}
	return nil
}

// vectorPeak is the operations of a turn of the level's loop of multiply-adds, and the loop.
func vectorPeak(level string) (flops float64, run func(n int)) {
	switch level {
	case "avx2":
		return 2 * 12 * 8, ypeak
	case "avx512":
		return 2 * 24 * 16, zpeak
	}
	return 0, nil
}
