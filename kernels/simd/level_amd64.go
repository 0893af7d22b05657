package simd

import "golang.org/x/sys/cpu"

func levels() []string {
	l := []string{generic}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		l = append(l, avx2)
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ {
			l = append(l, avx512)
		}
	}
	return l
}
