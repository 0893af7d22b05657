package sim

// typ is a PTX fundamental or instruction type.
type typ uint8

const (
	tNone typ = iota
	tPred
	tB8
	tU8
	tS8
	tB16
	tU16
	tS16
	tF16
	tBF16
	tB32
	tU32
	tS32
	tF32
	tTF32
	tF16x2
	tBF16x2
	tB64
	tU64
	tS64
	tF64
	tB128
	tE4M3
	tE5M2
	tE4M3x2
	tE5M2x2
)

// class groups types for PTX's operand type checking.
type class uint8

const (
	bitsClass class = iota
	intClass
	floatClass
	predClass
)

type typeInfo struct {
	name   string
	size   int // bytes
	class  class
	signed bool
}

var typeTable = [...]typeInfo{
	tNone: {"", 0, bitsClass, false},
	tPred: {"pred", 1, predClass, false},
	tB8:   {"b8", 1, bitsClass, false},
	tU8:   {"u8", 1, intClass, false},
	tS8:   {"s8", 1, intClass, true},
	tB16:  {"b16", 2, bitsClass, false},
	tU16:  {"u16", 2, intClass, false},
	tS16:  {"s16", 2, intClass, true},
	tF16:  {"f16", 2, floatClass, false},
	// bf16 and the packed pairs are stored in registers of bits.
	tBF16:   {"bf16", 2, bitsClass, false},
	tB32:    {"b32", 4, bitsClass, false},
	tU32:    {"u32", 4, intClass, false},
	tS32:    {"s32", 4, intClass, true},
	tF32:    {"f32", 4, floatClass, false},
	tTF32:   {"tf32", 4, bitsClass, false},
	tF16x2:  {"f16x2", 4, bitsClass, false},
	tBF16x2: {"bf16x2", 4, bitsClass, false},
	tB64:    {"b64", 8, bitsClass, false},
	tU64:    {"u64", 8, intClass, false},
	tS64:    {"s64", 8, intClass, true},
	tF64:    {"f64", 8, floatClass, false},
	tB128:   {"b128", 16, bitsClass, false},
	tE4M3:   {"e4m3", 1, bitsClass, false},
	tE5M2:   {"e5m2", 1, bitsClass, false},
	tE4M3x2: {"e4m3x2", 2, bitsClass, false},
	tE5M2x2: {"e5m2x2", 2, bitsClass, false},
}

var typeByName = func() map[string]typ {
	m := map[string]typ{}
	for t, i := range typeTable {
		if i.name != "" {
			m[i.name] = typ(t)
		}
	}
	return m
}()

func (t typ) String() string { return typeTable[t].name }
func (t typ) size() int      { return typeTable[t].size }
func (t typ) signed() bool   { return typeTable[t].signed }
func (t typ) class() class   { return typeTable[t].class }

// agrees is PTX's rule for a register in an instruction of type t of the same size: bits
// agree with everything, integers with integers, floats with themselves.
func (t typ) agrees(reg typ) bool {
	a, b := t.class(), reg.class()
	if a == predClass || b == predClass {
		return a == b
	}
	if a == bitsClass || b == bitsClass {
		return true
	}
	return a == b
}
