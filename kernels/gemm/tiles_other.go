//go:build !amd64

package gemm

func vectorTiles(string) tileSet { return nil }

func vectors() bool { return false }

func copy16(int, *float32, uintptr, *float32, uintptr) {
	panic("gemm: copy16 is for amd64")
}

func transpose8(int, *float32, uintptr, *float32, uintptr) {
	panic("gemm: transpose8 is for amd64")
}

func vectorPeak(string) (float64, func(n int)) { return 0, nil }
