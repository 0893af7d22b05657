package sim

// The arithmetic of which inner loops consist, four lanes at a time: this takes half the
// time of a plain loop.

func add32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] + b[i]
		d[i+1] = a[i+1] + b[i+1]
		d[i+2] = a[i+2] + b[i+2]
		d[i+3] = a[i+3] + b[i+3]
	}
}

func sub32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] - b[i]
		d[i+1] = a[i+1] - b[i+1]
		d[i+2] = a[i+2] - b[i+2]
		d[i+3] = a[i+3] - b[i+3]
	}
}

func mul32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] * b[i]
		d[i+1] = a[i+1] * b[i+1]
		d[i+2] = a[i+2] * b[i+2]
		d[i+3] = a[i+3] * b[i+3]
	}
}

func mad32(d, a, b, c *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i]*b[i] + c[i]
		d[i+1] = a[i+1]*b[i+1] + c[i+1]
		d[i+2] = a[i+2]*b[i+2] + c[i+2]
		d[i+3] = a[i+3]*b[i+3] + c[i+3]
	}
}

func mulHiU32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint32(uint64(a[i]) * uint64(b[i]) >> 32)
		d[i+1] = uint32(uint64(a[i+1]) * uint64(b[i+1]) >> 32)
		d[i+2] = uint32(uint64(a[i+2]) * uint64(b[i+2]) >> 32)
		d[i+3] = uint32(uint64(a[i+3]) * uint64(b[i+3]) >> 32)
	}
}

func mulHiS32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint32(int64(int32(a[i])) * int64(int32(b[i])) >> 32)
		d[i+1] = uint32(int64(int32(a[i+1])) * int64(int32(b[i+1])) >> 32)
		d[i+2] = uint32(int64(int32(a[i+2])) * int64(int32(b[i+2])) >> 32)
		d[i+3] = uint32(int64(int32(a[i+3])) * int64(int32(b[i+3])) >> 32)
	}
}

func and32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] & b[i]
		d[i+1] = a[i+1] & b[i+1]
		d[i+2] = a[i+2] & b[i+2]
		d[i+3] = a[i+3] & b[i+3]
	}
}

func or32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] | b[i]
		d[i+1] = a[i+1] | b[i+1]
		d[i+2] = a[i+2] | b[i+2]
		d[i+3] = a[i+3] | b[i+3]
	}
}

func xor32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] ^ b[i]
		d[i+1] = a[i+1] ^ b[i+1]
		d[i+2] = a[i+2] ^ b[i+2]
		d[i+3] = a[i+3] ^ b[i+3]
	}
}

func shl32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] << b[i]
		d[i+1] = a[i+1] << b[i+1]
		d[i+2] = a[i+2] << b[i+2]
		d[i+3] = a[i+3] << b[i+3]
	}
}

func shrU32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] >> b[i]
		d[i+1] = a[i+1] >> b[i+1]
		d[i+2] = a[i+2] >> b[i+2]
		d[i+3] = a[i+3] >> b[i+3]
	}
}

func shrS32(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint32(int32(a[i]) >> b[i])
		d[i+1] = uint32(int32(a[i+1]) >> b[i+1])
		d[i+2] = uint32(int32(a[i+2]) >> b[i+2])
		d[i+3] = uint32(int32(a[i+3]) >> b[i+3])
	}
}

func add64(d, a, b, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] + b[i]
		d[i+1] = a[i+1] + b[i+1]
		d[i+2] = a[i+2] + b[i+2]
		d[i+3] = a[i+3] + b[i+3]
	}
}

func sub64(d, a, b, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] - b[i]
		d[i+1] = a[i+1] - b[i+1]
		d[i+2] = a[i+2] - b[i+2]
		d[i+3] = a[i+3] - b[i+3]
	}
}

func mul64(d, a, b, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] * b[i]
		d[i+1] = a[i+1] * b[i+1]
		d[i+2] = a[i+2] * b[i+2]
		d[i+3] = a[i+3] * b[i+3]
	}
}

func mad64(d, a, b, c *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i]*b[i] + c[i]
		d[i+1] = a[i+1]*b[i+1] + c[i+1]
		d[i+2] = a[i+2]*b[i+2] + c[i+2]
		d[i+3] = a[i+3]*b[i+3] + c[i+3]
	}
}

func and64(d, a, b, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] & b[i]
		d[i+1] = a[i+1] & b[i+1]
		d[i+2] = a[i+2] & b[i+2]
		d[i+3] = a[i+3] & b[i+3]
	}
}

func or64(d, a, b, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] | b[i]
		d[i+1] = a[i+1] | b[i+1]
		d[i+2] = a[i+2] | b[i+2]
		d[i+3] = a[i+3] | b[i+3]
	}
}

func xor64(d, a, b, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = a[i] ^ b[i]
		d[i+1] = a[i+1] ^ b[i+1]
		d[i+2] = a[i+2] ^ b[i+2]
		d[i+3] = a[i+3] ^ b[i+3]
	}
}

func wideU(d *row64, a, b *row, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint64(a[i]) * uint64(b[i])
		d[i+1] = uint64(a[i+1]) * uint64(b[i+1])
		d[i+2] = uint64(a[i+2]) * uint64(b[i+2])
		d[i+3] = uint64(a[i+3]) * uint64(b[i+3])
	}
}

func wideS(d *row64, a, b *row, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint64(int64(int32(a[i])) * int64(int32(b[i])))
		d[i+1] = uint64(int64(int32(a[i+1])) * int64(int32(b[i+1])))
		d[i+2] = uint64(int64(int32(a[i+2])) * int64(int32(b[i+2])))
		d[i+3] = uint64(int64(int32(a[i+3])) * int64(int32(b[i+3])))
	}
}

func madWideU(d *row64, a, b *row, c *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint64(a[i])*uint64(b[i]) + c[i]
		d[i+1] = uint64(a[i+1])*uint64(b[i+1]) + c[i+1]
		d[i+2] = uint64(a[i+2])*uint64(b[i+2]) + c[i+2]
		d[i+3] = uint64(a[i+3])*uint64(b[i+3]) + c[i+3]
	}
}

func madWideS(d *row64, a, b *row, c *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint64(int64(int32(a[i]))*int64(int32(b[i]))) + c[i]
		d[i+1] = uint64(int64(int32(a[i+1]))*int64(int32(b[i+1]))) + c[i+1]
		d[i+2] = uint64(int64(int32(a[i+2]))*int64(int32(b[i+2]))) + c[i+2]
		d[i+3] = uint64(int64(int32(a[i+3]))*int64(int32(b[i+3]))) + c[i+3]
	}
}

func widenU(d *row64, a, _ *row, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint64(a[i])
		d[i+1] = uint64(a[i+1])
		d[i+2] = uint64(a[i+2])
		d[i+3] = uint64(a[i+3])
	}
}

func widenS(d *row64, a, _ *row, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint64(int64(int32(a[i])))
		d[i+1] = uint64(int64(int32(a[i+1])))
		d[i+2] = uint64(int64(int32(a[i+2])))
		d[i+3] = uint64(int64(int32(a[i+3])))
	}
}

func pack64(d *row64, a, b *row, _ *row64) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint64(a[i]) | uint64(b[i])<<32
		d[i+1] = uint64(a[i+1]) | uint64(b[i+1])<<32
		d[i+2] = uint64(a[i+2]) | uint64(b[i+2])<<32
		d[i+3] = uint64(a[i+3]) | uint64(b[i+3])<<32
	}
}

func narrow64(d *row, a, _ *row64, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = uint32(a[i])
		d[i+1] = uint32(a[i+1])
		d[i+2] = uint32(a[i+2])
		d[i+3] = uint32(a[i+3])
	}
}

func addF(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = number(f32(a[i]) + f32(b[i]))
		d[i+1] = number(f32(a[i+1]) + f32(b[i+1]))
		d[i+2] = number(f32(a[i+2]) + f32(b[i+2]))
		d[i+3] = number(f32(a[i+3]) + f32(b[i+3]))
	}
}

func subF(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = number(f32(a[i]) - f32(b[i]))
		d[i+1] = number(f32(a[i+1]) - f32(b[i+1]))
		d[i+2] = number(f32(a[i+2]) - f32(b[i+2]))
		d[i+3] = number(f32(a[i+3]) - f32(b[i+3]))
	}
}

func mulF(d, a, b, _ *row) {
	for i := 0; i < 29; i += 4 {
		d[i] = number(float32(f32(a[i]) * f32(b[i])))
		d[i+1] = number(float32(f32(a[i+1]) * f32(b[i+1])))
		d[i+2] = number(float32(f32(a[i+2]) * f32(b[i+2])))
		d[i+3] = number(float32(f32(a[i+3]) * f32(b[i+3])))
	}
}
