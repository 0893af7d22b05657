package ptx

import (
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// PackedSuffix ends the names of packed PTX files, which lie beside their texts.
const PackedSuffix = ".zst"

// zstdMagic begins a zstd frame (RFC 8878, section 3.1.1), and no PTX.
const zstdMagic = "\x28\xb5\x2f\xfd"

// Pack is a PTX text as programs embed it, a tenth of its size: the same bytes for the
// same text, whatever the machine.
func Pack(text []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(text, nil), w.Close()
}

// Unpack gives the text back; what was not packed is the text.
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
