// Package words is the instructions that Go's assembler has no name for: AMX's tiles and
// AVX512-BF16's products. A .s file holds their bytes, the generators write them from the
// texts here, kernels/simd/asmtest reads them back, and tools/architecture lets no other
// bytes into a file. The bytes are what GNU as 2.40 makes of Intel's spelling of the text.
//
// Texts are in Go's order, the destination last: VDPBF16PS Z30, Z28, Z0 adds Z28 times
// Z30 to Z0. T0 to T7 are the tiles.
package words

import "strings"

// word is one instruction.
type word struct{ text, bytes string }

var table = []word{
	{"LDTILECFG (AX)", "c4 e2 78 49 00"},
	{"TILERELEASE", "c4 e2 78 49 c0"},
	{"TILEZERO T0", "c4 e2 7b 49 c0"},
	{"TILEZERO T1", "c4 e2 7b 49 c8"},
	{"TILEZERO T2", "c4 e2 7b 49 d0"},
	{"TILEZERO T3", "c4 e2 7b 49 d8"},
	{"TILELOADD (SI)(DX*1), T4", "c4 e2 7b 4b 24 16"},
	{"TILELOADD (R11)(DX*1), T5", "c4 c2 7b 4b 2c 13"},
	{"TILELOADD (DI)(R10*1), T6", "c4 a2 7b 4b 34 17"},
	{"TILELOADD (R12)(R10*1), T7", "c4 82 7b 4b 3c 14"},
	{"TDPBF16PS T6, T4, T0", "c4 e2 4a 5c c4"},
	{"TDPBF16PS T7, T4, T1", "c4 e2 42 5c cc"},
	{"TDPBF16PS T6, T5, T2", "c4 e2 4a 5c d5"},
	{"TDPBF16PS T7, T5, T3", "c4 e2 42 5c dd"},
	{"TILELOADD (R8)(R9*1), T0", "c4 82 7b 4b 04 08"},
	{"TILELOADD 64(R8)(R9*1), T1", "c4 82 7b 4b 4c 08 40"},
	{"TILELOADD (R13)(R9*1), T2", "c4 82 7b 4b 54 0d 00"},
	{"TILELOADD 64(R13)(R9*1), T3", "c4 82 7b 4b 5c 0d 40"},
	{"TILESTORED T0, (R8)(R9*1)", "c4 82 7a 4b 04 08"},
	{"TILESTORED T1, 64(R8)(R9*1)", "c4 82 7a 4b 4c 08 40"},
	{"TILESTORED T2, (R13)(R9*1)", "c4 82 7a 4b 54 0d 00"},
	{"TILESTORED T3, 64(R13)(R9*1)", "c4 82 7a 4b 5c 0d 40"},
	{"VDPBF16PS Z30, Z28, Z0", "62 92 1e 40 52 c6"},
	{"VDPBF16PS Z30, Z29, Z1", "62 92 16 40 52 ce"},
	{"VDPBF16PS Z30, Z28, Z2", "62 92 1e 40 52 d6"},
	{"VDPBF16PS Z30, Z29, Z3", "62 92 16 40 52 de"},
	{"VDPBF16PS Z30, Z28, Z4", "62 92 1e 40 52 e6"},
	{"VDPBF16PS Z30, Z29, Z5", "62 92 16 40 52 ee"},
	{"VDPBF16PS Z30, Z28, Z6", "62 92 1e 40 52 f6"},
	{"VDPBF16PS Z30, Z29, Z7", "62 92 16 40 52 fe"},
	{"VDPBF16PS Z30, Z28, Z8", "62 12 1e 40 52 c6"},
	{"VDPBF16PS Z30, Z29, Z9", "62 12 16 40 52 ce"},
	{"VDPBF16PS Z30, Z28, Z10", "62 12 1e 40 52 d6"},
	{"VDPBF16PS Z30, Z29, Z11", "62 12 16 40 52 de"},
	{"VDPBF16PS Z30, Z28, Z12", "62 12 1e 40 52 e6"},
	{"VDPBF16PS Z30, Z29, Z13", "62 12 16 40 52 ee"},
	{"VDPBF16PS Z30, Z28, Z14", "62 12 1e 40 52 f6"},
	{"VDPBF16PS Z30, Z29, Z15", "62 12 16 40 52 fe"},
	{"VDPBF16PS Z30, Z28, Z16", "62 82 1e 40 52 c6"},
	{"VDPBF16PS Z30, Z29, Z17", "62 82 16 40 52 ce"},
	{"VDPBF16PS Z30, Z28, Z18", "62 82 1e 40 52 d6"},
	{"VDPBF16PS Z30, Z29, Z19", "62 82 16 40 52 de"},
	{"VDPBF16PS Z30, Z28, Z20", "62 82 1e 40 52 e6"},
	{"VDPBF16PS Z30, Z29, Z21", "62 82 16 40 52 ee"},
	{"VDPBF16PS Z30, Z28, Z22", "62 82 1e 40 52 f6"},
	{"VDPBF16PS Z30, Z29, Z23", "62 82 16 40 52 fe"},
	{"VDPBF16PS Z30, Z28, Z24", "62 02 1e 40 52 c6"},
	{"VDPBF16PS Z30, Z29, Z25", "62 02 16 40 52 ce"},
	{"VDPBF16PS Z30, Z28, Z26", "62 02 1e 40 52 d6"},
	{"VDPBF16PS Z30, Z29, Z27", "62 02 16 40 52 de"},
}

// Line is the line of a .s file that stands for an instruction; it panics where the table
// has none of that text.
func Line(text string) string {
	for _, w := range table {
		if w.text == text {
			return w.line()
		}
	}
	panic("words: no instruction " + text)
}

func (w word) line() string {
	return "BYTE $0x" + strings.Join(strings.Fields(w.bytes), "; BYTE $0x")
}

// Texts are the instructions by their lines.
func Texts() map[string]string {
	m := make(map[string]string, len(table))
	for _, w := range table {
		m[w.line()] = w.text
	}
	return m
}
