//go:build !amd64

package gemm

func vectorTiles(string) tileSet { return nil }

func transposes() bool { return false }

func transpose8(int, *float32, uintptr, *float32, uintptr) {
	panic("gemm: transpose8 is for amd64")
}
