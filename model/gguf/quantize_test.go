package gguf

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"os"
	"testing"

	container "dataflex.dev/dataflex/data/gguf"
)

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The bytes equal those of the gguf package of PyPI (0.19) (tools/golden/gguf_write.py).
func TestAppend(t *testing.T) {
	var recorded struct {
		Values          []float32
		F16, BF16, Q8_0 string
	}
	readJSON(t, "testdata/quantized.json", &recorded)
	for kind, text := range map[container.Type]string{container.F16: recorded.F16, container.BF16: recorded.BF16, container.Q8_0: recorded.Q8_0} {
		want, err := hex.DecodeString(text)
		if err != nil || len(want) == 0 {
			t.Fatal(err)
		}
		got, ok := Append(kind, nil, recorded.Values)
		if !ok || len(got) != len(want) {
			t.Fatalf("%s: %d bytes, want %d", kind, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: byte %d is %#x, want %#x", kind, i, got[i], want[i])
				break
			}
		}
	}
	if _, ok := Append(container.Q4_0, nil, nil); ok {
		t.Error("Q4_0 is written")
	}
}

// A file with every kind of value and type equals the package's, byte by byte.
func TestWrite(t *testing.T) {
	want, err := os.ReadFile("testdata/written.gguf")
	if err != nil {
		t.Fatal(err)
	}
	var numbers struct{ One, Two []float32 }
	readJSON(t, "testdata/written.json", &numbers)
	values := []container.Value{
		{Key: "general.architecture", Value: "llama"},
		{Key: "a.u32", Value: uint32(4000000000)},
		{Key: "a.i32", Value: int32(-5)},
		{Key: "a.f32", Value: float32(1e-5)},
		{Key: "a.yes", Value: true},
		{Key: "a.no", Value: false},
		{Key: "a.text", Value: "Ġé"},
		{Key: "a.u64", Value: uint64(1 << 40)},
		{Key: "a.i32s", Value: []int32{1, -2, 3}},
		{Key: "a.f32s", Value: []float32{0.5, -1.25}},
		{Key: "a.texts", Value: []string{"x", "", "yz"}},
	}
	tensors := []container.Tensor{
		{Name: "one", Type: container.F32, Shape: []int{3, 5}},
		{Name: "half", Type: container.F16, Shape: []int{2, 64}},
		{Name: "brain", Type: container.BF16, Shape: []int{2, 64}},
		{Name: "eight", Type: container.Q8_0, Shape: []int{2, 64}},
		{Name: "last", Type: container.F32, Shape: []int{5}},
	}
	content := [][]float32{numbers.One, numbers.Two, numbers.Two, numbers.Two, numbers.One[:5]}
	var got bytes.Buffer
	err = container.Write(&got, values, tensors, func(i int, w io.Writer) error {
		b, _ := Append(tensors[i].Type, nil, content[i])
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		at := 0
		for at < min(got.Len(), len(want)) && got.Bytes()[at] == want[at] {
			at++
		}
		t.Errorf("%d bytes, want %d; the first difference is at %d", got.Len(), len(want), at)
	}
	if err := container.Write(io.Discard, []container.Value{{Key: "k", Value: 1}}, nil, nil); err == nil || err.Error() != "gguf: k: a int cannot be written" {
		t.Error(err)
	}
}

// The roundings are torch 2.7.1's (torch.tensor(x).to(dtype).view(torch.int16)).
func TestRounding(t *testing.T) {
	for _, c := range []struct {
		v        float32
		f16, b16 uint16
	}{
		{0, 0x0000, 0x0000},
		{1, 0x3c00, 0x3f80},
		{-2.5, 0xc100, 0xc020},
		{0.1, 0x2e66, 0x3dcd},
		{1.0009765625, 0x3c01, 0x3f80},   // 1 + 2^-10
		{1.00048828125, 0x3c00, 0x3f80},  // halfway, to even
		{1.00146484375, 0x3c02, 0x3f80},  // halfway, to even
		{1.00390625, 0x3c04, 0x3f80},     // 1 + 2^-8: halfway in bfloat16
		{1.01171875, 0x3c0c, 0x3f82},     // 1 + 3·2^-8
		{65504, 0x7bff, 0x4780},          // the largest float16
		{65519, 0x7bff, 0x4780},          // below halfway
		{65520, 0x7c00, 0x4780},          // infinite
		{6.1035156e-05, 0x0400, 0x3880},  // the smallest normal
		{6.0975552e-05, 0x03ff, 0x3880},  // the largest subnormal
		{5.9604645e-08, 0x0001, 0x3380},  // the smallest subnormal
		{2.9802322e-08, 0x0000, 0x3300},  // half of it, to even
		{-8.9406967e-08, 0x8002, 0xb3c0}, // 1.5 of it, to even
		{3.4028235e38, 0x7c00, 0x7f80},
		{float32(math.Inf(-1)), 0xfc00, 0xff80},
	} {
		if got := ToFloat16(c.v); got != c.f16 {
			t.Errorf("float16(%v) is %#x, want %#x", c.v, got, c.f16)
		}
		if got := ToBFloat16(c.v); got != c.b16 {
			t.Errorf("bfloat16(%v) is %#x, want %#x", c.v, got, c.b16)
		}
	}
	nan := float32(math.NaN())
	if ToFloat16(nan)&0x7fff <= 0x7c00 || ToBFloat16(nan)&0x7fff <= 0x7f80 {
		t.Error("a NaN is no NaN any more")
	}
}

// Interleave undoes InOrder; two heads of four rows, worked by hand.
func TestInterleave(t *testing.T) {
	x := []int{0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17}
	Interleave(x, 8, 2)
	if want := [16]int{0, 1, 4, 5, 2, 3, 6, 7, 10, 11, 14, 15, 12, 13, 16, 17}; [16]int(x) != want {
		t.Error(x)
	}
	InOrder(x, 8, 2)
	if want := [16]int{0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17}; [16]int(x) != want {
		t.Error(x)
	}
}
