package selector

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
)

// sharedMean returns a mean that several scoring processes share: the first one computes the mean
// of a subtask's evaluation rows and writes it to cache_dir, the others wait for the file and
// read it. key identifies the whole scoring.
func (s *influence) sharedMean(key string, mean meanOf) meanOf {
	return func(ctx context.Context, task int) (_ []float64, err error) {
		dir := filepath.Join(s.dir, "features")
		path := filepath.Join(dir, fmt.Sprintf("%s-%d.mean", key[:16], task))
		dim := s.projection.Dim()
		if kept := readMean(path, key, dim); kept != nil {
			return kept, nil
		}
		if err := storage.MkdirAll(dir); err != nil {
			return nil, fmt.Errorf("evaluation rows: %w", err)
		}
		lock, err := storage.WaitLock(ctx, path+".lock", func(h *storage.Held) {
			s.run.Log.Info("another share computes the gradients of the evaluation rows: this one waits", "lock", h.Error())
		})
		if err != nil {
			return nil, fmt.Errorf("evaluation rows: %w", err)
		}
		defer func() {
			if e := lock.Release(); err == nil {
				err = e
			}
		}()
		if kept := readMean(path, key, dim); kept != nil {
			return kept, nil
		}
		values, err := mean(ctx, task)
		if err != nil {
			return nil, err
		}
		return values, storage.WriteFile(path, encodeMean(key, values))
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeMean returns key, values as little-endian float64, and the CRC32C of both.
func encodeMean(key string, values []float64) []byte {
	b := []byte(key)
	for _, x := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readMean reads a mean written by encodeMean; nil if the file is missing, damaged or has
// another key.
func readMean(path, key string, dim int) []float64 {
	b, err := storage.ReadFile(path)
	if err != nil || len(b) != len(key)+8*dim+4 || string(b[:len(key)]) != key {
		return nil
	}
	end := len(b) - 4
	if binary.LittleEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil
	}
	values := make([]float64, dim)
	for i := range values {
		values[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[len(key)+8*i:]))
	}
	return values
}
