package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
)

// SHA256 is the hash of a file's content, in hexadecimal, and its size.
func SHA256(path string) (sum string, size int64, err error) {
	f, err := Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.CopyBuffer(h, f, make([]byte, 1<<20)); err != nil {
		return "", size, fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// Castagnoli is the table of CRC32C, the checksum of everything that is read piecewise.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)
