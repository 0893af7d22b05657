package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/gguf"
)

// dtypes are the number formats that export writes: Hugging Face's name, safetensors' name, and
// the size of a number in bytes.
var dtypes = map[string]struct {
	name   string
	size   int
	append func(dst []byte, v float32) []byte
}{
	"float32":  {"F32", 4, func(dst []byte, v float32) []byte { return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v)) }},
	"bfloat16": {"BF16", 2, func(dst []byte, v float32) []byte { return binary.LittleEndian.AppendUint16(dst, gguf.ToBFloat16(v)) }},
	"float16":  {"F16", 2, func(dst []byte, v float32) []byte { return binary.LittleEndian.AppendUint16(dst, gguf.ToFloat16(v)) }},
}

// shard is the tensors of one file.
type shard struct {
	names  []string
	beside []checkpoint.Tensor // of a multimodal model's towers, written as they are
	bytes  int64
}

// plan distributes the tensors over files in the order of their names, up to limit bytes each.
func plan(m *merger, size int, limit int64) (shards []shard, total int64) {
	room := func(bytes int64) *shard {
		if len(shards) == 0 || shards[len(shards)-1].bytes+bytes > limit && shards[len(shards)-1].bytes > 0 {
			shards = append(shards, shard{})
		}
		last := &shards[len(shards)-1]
		last.bytes += bytes
		total += bytes
		return last
	}
	for _, n := range m.names() {
		last := room(int64(size) * int64(elements(m.shape(n))))
		last.names = append(last.names, n)
	}
	for _, t := range m.base.Beside() {
		last := room(int64(t.Bytes()))
		last.beside = append(last.beside, t)
	}
	return shards, total
}

// shardName is the name of one of several files.
func shardName(i, of int) string { return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, of) }

// shardNames are the files of a model in n shards.
func shardNames(n int) []string {
	if n == 1 {
		return []string{storage.ModelFile}
	}
	names := []string{storage.ModelIndexFile}
	for i := range n {
		names = append(names, shardName(i, n))
	}
	return names
}

// writeModel writes the merged weights in a number format into dir.
func writeModel(ctx context.Context, m *merger, dir, dtype string, shards []shard, total int64) error {
	if len(shards) == 1 {
		return writeShard(ctx, m, filepath.Join(dir, storage.ModelFile), dtype, shards[0])
	}
	index := struct {
		Metadata  map[string]int64  `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{map[string]int64{"total_size": total}, map[string]string{}}
	for i, s := range shards {
		name := shardName(i, len(shards))
		if err := writeShard(ctx, m, filepath.Join(dir, name), dtype, s); err != nil {
			return err
		}
		for _, n := range s.names {
			index.WeightMap[m.written(n)] = name
		}
		for _, t := range s.beside {
			index.WeightMap[t.Name] = name
		}
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return storage.WriteFile(filepath.Join(dir, storage.ModelIndexFile), append(text, '\n'))
}

// writeShard writes one safetensors file, tensor by tensor.
func writeShard(ctx context.Context, m *merger, path, dtype string, s shard) error {
	return storage.Write(path, -1, func(file io.Writer) error {
		w := bufio.NewWriterSize(file, 1<<20)
		if err := writeTensors(ctx, m, w, dtype, s); err != nil {
			return err
		}
		return w.Flush()
	})
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
		header[m.written(n)] = tensor{d.name, shape, [2]int64{at, end}}
		at = end
	}
	for _, t := range s.beside {
		end := at + int64(t.Bytes())
		header[t.Name] = tensor{t.DType, t.Shape, [2]int64{at, end}}
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
		if i := slices.IndexFunc(values, func(v float32) bool { return v != v }); i >= 0 {
			return fmt.Errorf("tensor %q holds NaN (element %d) after merging: the adapter does not belong to this model, or its training diverged", n, i)
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
	for _, t := range s.beside {
		if err := t.WriteRaw(w); err != nil {
			return err
		}
	}
	return nil
}
