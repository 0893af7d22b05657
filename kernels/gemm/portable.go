package gemm

import "unsafe"

// The portable kernels have as many sums as the registers of the poorest
// processor hold. float32(…) around a product keeps compilers that fuse multiply
// and add from doing so in one kernel and not in the other.

// portable1 is the kernel of 1 row and 4 columns.
func portable1(k int, a *float32, _, csa uintptr, b *float32, rsb uintptr, c *float32, _ uintptr, alpha float32, add bool, _ *float32) {
	var s0, s1, s2, s3 float32
	for p := range uintptr(k) {
		y := row4(b, p*rsb)
		x := *at(a, p*csa)
		s0 += float32(x * y[0])
		s1 += float32(x * y[1])
		s2 += float32(x * y[2])
		s3 += float32(x * y[3])
	}
	store4(row4(c, 0), alpha, add, s0, s1, s2, s3)
}

// portable2 is the kernel of 2 rows and 4 columns.
func portable2(k int, a *float32, rsa, csa uintptr, b *float32, rsb uintptr, c *float32, ldc uintptr, alpha float32, add bool, _ *float32) {
	var s0, s1, s2, s3, t0, t1, t2, t3 float32
	for p := range uintptr(k) {
		y := row4(b, p*rsb)
		x := *at(a, p*csa)
		s0 += float32(x * y[0])
		s1 += float32(x * y[1])
		s2 += float32(x * y[2])
		s3 += float32(x * y[3])
		x = *at(a, rsa+p*csa)
		t0 += float32(x * y[0])
		t1 += float32(x * y[1])
		t2 += float32(x * y[2])
		t3 += float32(x * y[3])
	}
	store4(row4(c, 0), alpha, add, s0, s1, s2, s3)
	store4(row4(c, ldc), alpha, add, t0, t1, t2, t3)
}

func store4(c *[4]float32, alpha float32, add bool, s0, s1, s2, s3 float32) {
	if !add {
		*c = [4]float32{}
	}
	c[0] += float32(alpha * s0)
	c[1] += float32(alpha * s1)
	c[2] += float32(alpha * s2)
	c[3] += float32(alpha * s3)
}

// at is the float offset bytes after p.
func at(p *float32, offset uintptr) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(p), offset))
}

func row4(p *float32, offset uintptr) *[4]float32 {
	return (*[4]float32)(unsafe.Add(unsafe.Pointer(p), offset))
}
