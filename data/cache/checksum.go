package cache

import (
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"sync/atomic"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
)

// checksumBlock is the number of bytes under one checksum, so that several cores can check a
// file.
const checksumBlock = 16 << 20

// checksum is the CRC32C of every block of a file that is written sequentially.
type checksum struct {
	done []uint32
	crc  uint32
	in   int // bytes of the current block
}

func (c *checksum) add(p []byte) {
	for len(p) > 0 {
		n := min(len(p), checksumBlock-c.in)
		c.crc = crc32.Update(c.crc, storage.Castagnoli, p[:n])
		if c.in += n; c.in == checksumBlock {
			c.done, c.crc, c.in = append(c.done, c.crc), 0, 0
		}
		p = p[n:]
	}
}

// blocks returns the checksums of everything written.
func (c *checksum) blocks() []uint32 {
	if c.in == 0 {
		return c.done
	}
	return append(c.done[:len(c.done):len(c.done)], c.crc)
}

// verify compares a mapped file with its checksums and releases its pages afterwards.
func verify(name string, b []byte, want []uint32) error {
	if n := (len(b) + checksumBlock - 1) / checksumBlock; n != len(want) {
		return fmt.Errorf("%s has %d blocks, the manifest has checksums of %d", name, n, len(want))
	}
	check := func(i int) (err error) {
		defer storage.CatchFault(&err)()
		block := b[i*checksumBlock : min((i+1)*checksumBlock, len(b))]
		if crc32.Checksum(block, storage.Castagnoli) != want[i] {
			return fmt.Errorf("%s is damaged: the checksum of block %d differs from the manifest's", name, i)
		}
		storage.Forget(block)
		return nil
	}
	errs := make([]error, len(want))
	var next atomic.Int64
	var g task.Group
	for range min(runtime.GOMAXPROCS(0), len(want)) {
		g.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(want)); i = next.Add(1) - 1 {
				errs[i] = check(int(i))
			}
		})
	}
	g.Wait()
	return errors.Join(errs...)
}
