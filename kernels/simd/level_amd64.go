package simd

import "golang.org/x/sys/cpu"

func levels() []set {
	l := []set{generic}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		l = append(l, avx2)
		if cpu.X86.HasAVX512F {
			l = append(l, avx512)
		}
	}
	return l
}
