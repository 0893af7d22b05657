// Package store is a key-value store over TCP by which the ranks of a job find each other
// before a faster transport connects them. It implements the protocol of PyTorch's TCPStore
// (2.2 and newer): under torchrun, whose agent listens on MASTER_PORT, a rank is a client of
// the agent's store; elsewhere rank 0 serves.
//
// Integers are little-endian; a string is its length, 8 bytes, and its bytes. A client first
// sends validate(0, magic, 4 bytes), once. Then, by the first byte: set(1, key, value),
// get(3, key) -> value, add(4, key, 8 bytes) -> 8 bytes, check(5, number of keys, keys) -> 0
// if all exist or else 1, wait(6, number of keys, keys) -> 0, cancel(12) -> 1, ping(13, 4
// bytes) -> the same 4 bytes.
package store

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	opValidate = 0
	opSet      = 1
	opGet      = 3
	opAdd      = 4
	opCheck    = 5
	opWait     = 6
	opCancel   = 12
	opPing     = 13

	magic = 0x3C85F7CE

	maxBytes = 1 << 20 // of a key or a value
	maxKeys  = 1 << 16 // in a store, or in one request
)

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

func readNumber(r io.Reader) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(r, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

func readString(r io.Reader) (string, error) {
	n, err := readNumber(r)
	if err != nil {
		return "", err
	}
	if n > maxBytes {
		return "", fmt.Errorf("a string of %d bytes", n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return string(b), err
}

func readKeys(r io.Reader) ([]string, error) {
	n, err := readNumber(r)
	if err != nil {
		return nil, err
	}
	if n > maxKeys {
		return nil, fmt.Errorf("%d keys at once", n)
	}
	var keys []string
	for range n {
		k, err := readString(r)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}
