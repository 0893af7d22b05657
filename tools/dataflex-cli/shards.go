package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// dtypes are the number formats export writes: Hugging Face's name, safetensors' and
// the bytes of a number.
var dtypes = map[string]struct {
	name   string
	size   int
	append func(dst []byte, v float32) []byte
}{
	"float32":  {"F32", 4, func(dst []byte, v float32) []byte { return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v)) }},
	"bfloat16": {"BF16", 2, func(dst []byte, v float32) []byte { return binary.LittleEndian.AppendUint16(dst, bfloat16(v)) }},
	"float16":  {"F16", 2, func(dst []byte, v float32) []byte { return binary.LittleEndian.AppendUint16(dst, float16(v)) }},
}

// bfloat16 rounds to nearest even; a NaN stays one.
func bfloat16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// float16 rounds to nearest even; what is too large becomes infinite, as in PyTorch.
func float16(v float32) uint16 {
	b := math.Float32bits(v)
	sign := uint16(b >> 16 & 0x8000)
	switch a := math.Float32frombits(b &^ (1 << 31)); {
	case v != v:
		return sign | 0x7e00
	case a >= 65520: // halfway to the next power of two
		return sign | 0x7c00
	case a < 1.0/(1<<14): // subnormal: whole multiples of 2^-24
		return sign | uint16(math.RoundToEven(float64(a)*(1<<24)))
	}
	b &^= 1 << 31
	b += 0xfff + b>>13&1 // a carry into the exponent is right
	return sign | uint16(b>>13-(127-15)<<10)
}

// shard is the tensors of one file.
type shard struct {
	names []string
	bytes int64
}

// plan fills files in the order of the names, up to limit bytes each.
func plan(m *merger, size int, limit int64) (shards []shard, total int64) {
	for _, n := range m.names() {
		bytes := int64(size) * int64(elements(m.shape(n)))
		if len(shards) == 0 || shards[len(shards)-1].bytes+bytes > limit && shards[len(shards)-1].bytes > 0 {
			shards = append(shards, shard{})
		}
		last := &shards[len(shards)-1]
		last.names = append(last.names, n)
		last.bytes += bytes
		total += bytes
	}
	return shards, total
}

// writeModel writes the merged weights in a number format into dir, in files of at most
// limit bytes (a larger tensor has one of its own), and removes weights that were there
// under other names, which transformers might take for the model.
func writeModel(ctx context.Context, m *merger, dir, dtype string, limit int64) error {
	shards, total := plan(m, dtypes[dtype].size, limit)
	index := struct {
		Metadata  map[string]int64  `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{map[string]int64{"total_size": total}, map[string]string{}}
	var written []string
	for i, s := range shards {
		name := storage.ModelFile
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		if err := writeShard(ctx, m, filepath.Join(dir, name), dtype, s); err != nil {
			return err
		}
		written = append(written, name)
		for _, n := range s.names {
			index.WeightMap[n] = name
		}
	}
	const indexName = storage.ModelFile + ".index.json"
	if len(shards) > 1 {
		text, err := json.MarshalIndent(index, "", "  ")
		if err != nil {
			return err
		}
		if err := storage.WriteFile(filepath.Join(dir, indexName), append(text, '\n')); err != nil {
			return err
		}
		written = append(written, indexName)
	}
	return removeOthers(dir, written)
}

func removeOthers(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n := e.Name()
		weights := strings.HasPrefix(n, "model") && (strings.HasSuffix(n, ".safetensors") || strings.HasSuffix(n, ".index.json"))
		if weights && !slices.Contains(keep, n) {
			if err := os.Remove(filepath.Join(dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeShard writes one safetensors file, tensor by tensor.
func writeShard(ctx context.Context, m *merger, path, dtype string, s shard) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %s (%d bytes): %w", path, s.bytes, err), f.Close(), os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := writeTensors(ctx, m, w, dtype, s); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func writeTensors(ctx context.Context, m *merger, w io.Writer, dtype string, s shard) error {
	d := dtypes[dtype]
	type tensor struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var at int64
	for _, n := range s.names {
		shape := m.shape(n)
		end := at + int64(d.size)*int64(elements(shape))
		header[n] = tensor{d.name, shape, [2]int64{at, end}}
		at = end
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	if _, err := w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)); err != nil {
		return err
	}
	var buf []byte
	for _, n := range s.names {
		if err := ctx.Err(); err != nil {
			return err
		}
		values, err := m.read(n)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(values, 1<<14) {
			buf = buf[:0]
			for _, v := range part {
				buf = d.append(buf, v)
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
	}
	return nil
}
