//go:build !amd64

package gradproj

func signTile(k *roundKeys, tile uint64, block0, blocks int, dst []byte, stride int) {
	signTileGeneric(k, tile, block0, blocks, dst, stride)
}

func philoxGroups(k *roundKeys, x []uint32) { philoxGroupsGeneric(k, x) }

func buildTable(rows *[8][lanes]float32, t *table) { buildTableGeneric(rows, t) }

func lookup(t *[4]table, bits []byte, stride, cols int, acc []float32) {
	lookupGeneric(t, bits, stride, cols, acc)
}

func scatter(rows [][lanes]float32, plan []uint32, entries int, acc []float32) {
	scatterGeneric(rows, plan, entries, acc)
}

// packRows transposes the same n values (a multiple of 8) of eight samples to dst [n][8].
func packRows(src *[lanes][]float32, n int, dst [][lanes]float32) { packGeneric(src, n, dst) }

func adamDirection(g, m, v []float32, c *direction) { adamGeneric(g, m, v, c) }

func normals(x []float32, scale float32) { normalsGeneric(x, scale) }
