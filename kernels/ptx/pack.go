package ptx

import (
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// PackedSuffix is the suffix of packed PTX files, which are beside the unpacked ones.
const PackedSuffix = ".zst"

// zstdMagic is the start of a zstd frame (RFC 8878, section 3.1.1), and of no PTX text.
const zstdMagic = "\x28\xb5\x2f\xfd"

// Pack packs a PTX text for embedding, to a tenth of its size: the same bytes for the same
// text, on any machine.
func Pack(text []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(text, nil), w.Close()
}

// Unpack returns the text; text that is not packed is returned unchanged.
func Unpack(embedded string) (string, error) {
	if !strings.HasPrefix(embedded, zstdMagic) {
		return embedded, nil
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := r.DecodeAll([]byte(embedded), nil)
	if err != nil {
		return "", fmt.Errorf("packed PTX: %w", err)
	}
	return string(text), nil
}
