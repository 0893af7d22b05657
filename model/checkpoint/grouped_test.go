package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/gguf"
)

// recordedMatrix is a matrix of testdata/grouped.json.
type recordedMatrix struct {
	Config map[string]any
	Parts  map[string]recordedPart
	Shape  []int
	Want   []byte
}

// recordedPart is a tensor: dtype, shape, bytes.
type recordedPart struct {
	dtype string
	shape []int
	bytes []byte
}

func (p *recordedPart) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&p.dtype, &p.shape, &p.bytes})
}

func recordedMatrices(t testing.TB) map[string]recordedMatrix {
	t.Helper()
	text, err := os.ReadFile("testdata/grouped.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]recordedMatrix
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

const recordedModule = "model.layers.0.mlp.up_proj"

// folder writes the matrix as recordedModule's in a folder.
func (m recordedMatrix) folder(t testing.TB) string {
	t.Helper()
	header, data := map[string]any{}, []byte{}
	for _, name := range slices.Sorted(maps.Keys(m.Parts)) {
		p := m.Parts[name]
		header[recordedModule+"."+name] = map[string]any{"dtype": p.dtype, "shape": p.shape, "data_offsets": []int{len(data), len(data) + len(p.bytes)}}
		data = append(data, p.bytes...)
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{"quantization_config": m.Config})
	if err != nil {
		t.Fatal(err)
	}
	file := append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data...)
	for name, text := range map[string][]byte{storage.ModelFile: file, storage.ConfigFile: config} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestGroupedMatrices: matrices in every format equal, bit for bit, the float32 numbers of
// the libraries that write them (tools/golden/quantised_folders.py), and these rounded in
// bf16.
func TestGroupedMatrices(t *testing.T) {
	for name, m := range recordedMatrices(t) {
		w, err := OpenWeights(m.folder(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		defer w.Close()
		matrix := recordedModule + ".weight"
		shape, _ := w.Shape(matrix)
		if !slices.Equal(w.Names(), []string{matrix}) || !slices.Equal(shape, m.Shape) {
			t.Errorf("%s: tensors %v, %v, want one of %v", name, w.Names(), shape, m.Shape)
			continue
		}
		stored := 0
		for _, p := range m.Parts {
			stored += len(p.bytes)
		}
		if has, decoded := w.Decoded(matrix); !decoded || int(has) != stored || w.Quantised(matrix) == "" {
			t.Errorf("%s: decoded %v out of %d bytes, want %d", name, decoded, has, stored)
		}
		n := shape[0] * shape[1]
		got, half := make([]float32, n), make([]driver.BF16, n)
		ok(t, w.ReadFloat32(matrix, got))
		ok(t, w.ReadBF16(matrix, half))
		for i, x := range got {
			want := math.Float32frombits(binary.LittleEndian.Uint32(m.Want[4*i:]))
			if x != want && !(x != x && want != want) || math.Signbit(float64(x)) != math.Signbit(float64(want)) && x == x {
				t.Errorf("%s: element %d is %v, the library's is %v", name, i, x, want)
				break
			}
			if is := uint16(half[i]); is != gguf.ToBFloat16(x) && !(x != x && is&0x7fff > 0x7f80) {
				t.Errorf("%s: element %d is %#x in bf16, want %#x", name, i, half[i], gguf.ToBFloat16(x))
				break
			}
		}
	}
}

// TestIdleBias: a bias of zeros beside a decoded matrix is idle; one with other numbers is
// not, nor is any beside a matrix that is not quantised.
func TestIdleBias(t *testing.T) {
	for _, c := range []struct {
		matrix string
		bias   []byte
		want   bool
	}{{"gptq-4", make([]byte, 32), true}, {"gptq-4", append(make([]byte, 31), 1), false}, {"", make([]byte, 32), false}} {
		m := recordedMatrix{Parts: map[string]recordedPart{"weight": {"F32", []int{1, 1}, make([]byte, 4)}}}
		if c.matrix != "" {
			m = recordedMatrices(t)[c.matrix]
		}
		m.Parts["bias"] = recordedPart{"F16", []int{16}, c.bias}
		w, err := OpenWeights(m.folder(t))
		ok(t, err)
		defer w.Close()
		if got := w.IdleBias(recordedModule + ".bias"); got != c.want {
			t.Errorf("%q: a bias of %v is idle: %v", c.matrix, c.bias, got)
		}
		if w.IdleBias(recordedModule+".weight") || w.IdleBias("missing.bias") {
			t.Error("what is no bias is an idle one")
		}
	}
}

// TestGroupedFaults: missing parts, parts of another size or type, and groups that do not
// exist are errors that name the file, the tensor and the part.
func TestGroupedFaults(t *testing.T) {
	all := recordedMatrices(t)
	without := func(name, part string) recordedMatrix {
		m := all[name]
		m.Parts = maps.Clone(m.Parts)
		delete(m.Parts, part)
		return m
	}
	with := func(name, part, dtype string, shape []int, fill byte) recordedMatrix {
		m := without(name, part)
		n := uint64(1)
		for _, d := range shape {
			n *= uint64(d)
		}
		b := make([]byte, n*bitsPerElement[dtype]/8)
		for i := range b {
			b[i] = fill
		}
		m.Parts[part] = recordedPart{dtype, shape, b}
		return m
	}
	for want, m := range map[string]recordedMatrix{
		`up_proj.qweight": its part model.layers.0.mlp.up_proj.scales is missing`: without("gptq-4", "scales"),
		`up_proj.qzeros is missing`:                                           without("gptq-4", "qzeros"),
		`up_proj.g_idx puts column 0 into group 50529027, and there are 4`:    with("gptq-4-order", "g_idx", "I32", []int{32}, 3),
		`up_proj.g_idx puts column 0 into group -1, and there are 4`:          with("gptq-4-order", "g_idx", "I32", []int{32}, 255),
		`up_proj.scales has 3 groups, and group_size 16 makes 2 of 32`:        with("gptq-4", "scales", "F16", []int{3, 16}, 0),
		`up_proj.qzeros is I32 [2 3], want I32 [2 2]`:                         with("gptq-4", "qzeros", "I32", []int{2, 3}, 0),
		`up_proj.qweight is F32 [4 16], want I32`:                             with("gptq-4", "qweight", "F32", []int{4, 16}, 0),
		`up_proj.qzeros has codes of 16 bits: 4 and 8 are read`:               with("gptq-dynamic", "qzeros", "I32", []int{2, 8}, 0),
		`up_proj.scales is F32 [2 15], want F32 or F16 or BF16 [2 16]`:        with("awq", "scales", "F32", []int{2, 15}, 0),
		`up_proj.weight_scale is missing`:                                     without("ct-int8", "weight_scale"),
		`up_proj.weight_shape is [3 -1]`:                                      shaped(with("ct-int4", "weight_shape", "I64", []int{2}, 0), 3, -1),
		`up_proj.weight_packed is I32 [16 4], want I32 [16 8]`:                shaped(with("ct-int4", "weight_shape", "I64", []int{2}, 0), 16, 64),
		`up_proj.weight_zero_point is missing`:                                without("ct-int4-zeros", "weight_zero_point"),
		`up_proj.weight_scale_inv is missing`:                                 without("fp8", "weight_scale_inv"),
		`up_proj.weight_scale_inv is [3 2], and blocks of [8 16] make [2 2]`:  with("fp8", "weight_scale_inv", "F32", []int{3, 2}, 0),
		`up_proj.weight_scale_inv is [7]: without blocks one scale, or one `:  with("fp8-rows", "weight_scale_inv", "F32", []int{7}, 0),
		`up_proj.weight is F8_E4M3 [1 16 32], want F8_E4M3 [-1 -1]`:           with("fp8", "weight", "F8_E4M3", []int{1, 16, 32}, 0),
		`up_proj.weight" is stored in AWQ int4 as well`:                       with("awq", "weight", "F32", []int{1, 1}, 0),
		`up_proj.weight_scale is I8 [16 1], want F32 or F16 or BF16 [16 1]`:   with("ct-int8", "weight_scale", "I8", []int{16, 1}, 0),
		`up_proj.weight_shape" is I64`:                                        without("ct-int4", "weight_packed"),
		`up_proj.weight": quantization_config says that it is pack-quantized`: with("ct-int4", "weight", "I8", []int{16, 32}, 0),
	} {
		_, err := OpenWeights(m.folder(t))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), storage.ModelFile) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// shaped sets two numbers in weight_shape.
func shaped(m recordedMatrix, rows, cols int64) recordedMatrix {
	b := m.Parts["weight_shape"].bytes
	binary.LittleEndian.PutUint64(b, uint64(rows))
	binary.LittleEndian.PutUint64(b[8:], uint64(cols))
	return m
}

// TestQuantisationConfigs: an unsupported setting in config.json is an error that names the
// key and the value.
func TestQuantisationConfigs(t *testing.T) {
	group := func(format, weights string) string {
		return `{"quant_method": "compressed-tensors", "format": "` + format + `", "config_groups": {"group_0": {"targets": ["Linear"], "weights": ` + weights + `}}}`
	}
	for config, want := range map[string]string{
		`{"quant_method": "gptq", "bits": 3, "group_size": 128}`:                                                                          "quantization_config: bits is 3: GPTQ's codes of 4 and 8 bits are read",
		`{"quant_method": "gptq", "bits": 4, "group_size": 0}`:                                                                            "group_size is 0",
		`{"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}`:                                                              `checkpoint_format is "marlin"`,
		`{"quant_method": "gptq", "bits": 4, "pack_dtype": "int16"}`:                                                                      `pack_dtype is "int16"`,
		`{"quant_method": "gptq", "bits": 4, "is_marlin_format": true}`:                                                                   "is_marlin_format",
		`{"quant_method": "awq", "bits": 8}`:                                                                                              "bits is 8: AWQ's codes of 4 bits",
		`{"quant_method": "awq", "bits": 4, "version": "gemv"}`:                                                                           `version is "gemv"`,
		`{"quant_method": "awq", "bits": 4, "zero_point": false}`:                                                                         "zero_point is false",
		`{"quant_method": "fp8", "fmt": "e5m2"}`:                                                                                          `fmt is "e5m2"`,
		`{"quant_method": "fp8", "weight_block_size": [128]}`:                                                                             "weight_block_size is [128]",
		`{"quant_method": "compressed-tensors"}`:                                                                                          "config_groups is missing",
		group("nvfp4-pack-quantized", `{"num_bits": 4, "type": "float"}`):                                                                 `format "nvfp4-pack-quantized" is not read`,
		group("pack-quantized", `{"num_bits": 3}`):                                                                                        "type int with num_bits 3",
		group("pack-quantized", `{"num_bits": 4, "strategy": "tensor_group"}`):                                                            `strategy "tensor_group"`,
		group("pack-quantized", `{"num_bits": 4, "strategy": "group"}`):                                                                   "group_size 0",
		group("float-quantized", `{"num_bits": 8, "type": "float", "strategy": "block"}`):                                                 "block_structure []",
		`{"quant_method": "compressed-tensors", "sparsity_config": {"format": "24"}}`:                                                     "sparsity_config",
		`{"quant_method": "compressed-tensors", "transform_config": {"config_groups": {}}}`:                                               "transform_config",
		`{"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["re:("], "format": "int-quantized", "weights": {}}}}`: `"re:("`,
	} {
		dir := edited(t, storage.ConfigFile, llamaConfig, map[string]string{"quantization_config": config})
		if _, err := ReadModelConfig(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), storage.ConfigFile) {
			t.Errorf("%s: %v\nwant %s", config, err, want)
		}
	}
}

// TestCompressedTargets: for a module the group with its name comes before one with a
// pattern, and that before the group of its class, as in compressed-tensors' match_targets.
func TestCompressedTargets(t *testing.T) {
	f := &fields{raw: map[string]any{"config_groups": map[string]any{}}}
	for name, targets := range map[string][]any{"a": {"Linear"}, "b": {`re:.*\.up_proj$`, "re:lm"}, "c": {"x.up_proj"}} {
		bits := map[string]int{"a": 4, "b": 8, "c": 4}[name]
		f.raw["config_groups"].(map[string]any)[name] = map[string]any{
			"targets": targets, "format": "pack-quantized", "weights": map[string]any{"num_bits": bits, "symmetric": name != "c"},
		}
	}
	c := readCompressed(f).(*compressed)
	ok(t, f.err)
	for module, want := range map[string][2]any{"x.up_proj": {4, false}, "y.up_proj": {8, true}, "y.q_proj": {4, true}, "lm_head": {8, true}, "x.lm": {4, true}} {
		if g := c.of(module); g == nil || g.bits != want[0] || g.symmetric != want[1] {
			t.Errorf("%s has the group %+v", module, g)
		}
	}
}

// TestE4M3: the largest number, the smallest, both zeros and both NaN codes, from
// Micikevicius et al. 2022, table 1.
func TestE4M3(t *testing.T) {
	for code, want := range map[int]float32{0x7e: 448, 0xfe: -448, 0x08: 0x1p-6, 0x07: 0x1.cp-7, 0x01: 0x1p-9, 0x38: 1, 0x00: 0, 0x78: 256} {
		if e4m3[code] != want {
			t.Errorf("%#x is %v, want %v", code, e4m3[code], want)
		}
	}
	if e4m3[0x7f] == e4m3[0x7f] || e4m3[0xff] == e4m3[0xff] || !math.Signbit(float64(e4m3[0x80])) || e4m3[0x80] != 0 {
		t.Error("NaN or -0 are not what they are")
	}
}

// FuzzGrouped damages a matrix's parts and configuration: it opens or is an error, and a
// folder that opens can be read.
func FuzzGrouped(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed)
	}
	all := recordedMatrices(f)
	names := slices.Sorted(maps.Keys(all))
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := all[names[r.IntN(len(names))]]
		m.Parts, m.Config = maps.Clone(m.Parts), maps.Clone(m.Config)
		for range 1 + r.IntN(3) {
			m.damage(r)
		}
		w, err := OpenWeights(m.folder(t))
		if err != nil {
			return
		}
		defer w.Close()
		for _, name := range w.Names() {
			shape, _ := w.Shape(name)
			n := elements(location{entry: entry{shape: shape}})
			if _, decoded := w.Decoded(name); decoded {
				ok(t, w.ReadFloat32(name, make([]float32, n)))
			}
		}
	})
}

// damage makes one change.
func (m *recordedMatrix) damage(r *rand.Rand) {
	name := slices.Sorted(maps.Keys(m.Parts))
	part := name[r.IntN(len(name))]
	p := m.Parts[part]
	p.shape, p.bytes = slices.Clone(p.shape), slices.Clone(p.bytes)
	switch r.IntN(6) {
	case 0:
		if len(name) > 1 {
			delete(m.Parts, part)
		}
		return
	case 1:
		if len(p.shape) > 0 {
			p.shape[r.IntN(len(p.shape))] = r.IntN(40)
		}
	case 2:
		p.shape = append(p.shape, 1)
	case 3:
		types := slices.Sorted(maps.Keys(bitsPerElement))
		p.dtype = types[r.IntN(len(types))]
	case 4:
		for range 4 {
			if len(p.bytes) > 0 {
				p.bytes[r.IntN(len(p.bytes))] = byte(r.IntN(256))
			}
		}
	default:
		keys := []string{"bits", "group_size", "weight_block_size", "checkpoint_format"}
		m.Config[keys[r.IntN(len(keys))]] = []any{r.IntN(10), -1, "gptq_v2", []int{1 + r.IntN(40), r.IntN(9)}, 8, 4}[r.IntN(6)]
	}
	if size, fits := byteSize(p.dtype, p.shape); fits {
		p.bytes = append(p.bytes, make([]byte, size)...)[:size]
	}
	m.Parts[part] = p
}
