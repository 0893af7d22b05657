package simd

import (
	"sync"

	"golang.org/x/sys/cpu"
)

var units = sync.OnceValue(func() (names []string) {
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BF16 {
		names = append(names, "avx512_bf16")
		if cpu.X86.HasAMXTile && cpu.X86.HasAMXBF16 && mayUseTiles() {
			names = append(names, "amx")
		}
	}
	return names
})
