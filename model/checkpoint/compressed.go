package checkpoint

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// compressed is compressed-tensors' format. If packed, a module has weight_packed [out,
// in·bits/32] with the codes of consecutive inputs from a word's low bits up, weight_shape,
// weight_scale [out, groups], weight_zero_point [out·bits/32, groups] with those of
// consecutive outputs if they are not symmetric, weight_g_idx [in] if inputs were reordered;
// codes and zeros are stored with half of their range added. Otherwise it has weight as int8
// or E4M3, and weight_scale and weight_zero_point in their own dtypes.
//
// Source: compressed-tensors 0.20.1 compressors/pack_quantized, compressors/naive_quantized,
// utils/match.py.
type compressed struct{ groups []compressedGroup }

// compressedGroup describes how modules whose name or class is one of the targets are
// quantised.
type compressedGroup struct {
	targets   []string
	patterns  []*regexp.Regexp // the targets that begin with re:
	form      string
	bits      int
	symmetric bool
	strategy  string
	width     int // for strategy group
	block     []int
	inputs    bool // the inputs are also quantised
}

func readCompressed(f *fields) format {
	c := &compressed{}
	if s := f.object("sparsity_config"); s != nil && len(s.raw) > 0 && s.string("format", "dense") != "dense" {
		f.fail("sparsity_config: sparse weights are not read; %s", otherFolder)
	}
	if t := f.object("transform_config"); t != nil && len(t.raw) > 0 && t.raw["config_groups"] != nil {
		f.fail("transform_config: weights and activations that are rotated are not read; %s", otherFolder)
	}
	form := f.string("format", "")
	groups := f.object("config_groups")
	if groups == nil {
		f.fail("config_groups is missing")
		return c
	}
	for _, name := range slices.Sorted(maps.Keys(groups.raw)) {
		if g := groups.object(name); g != nil {
			if read := readGroup(g, form); read != nil {
				c.groups = append(c.groups, *read)
			}
			groups.take(g)
		}
	}
	f.take(groups)
	return c
}

// readGroup reads one of config_groups; nil if its weights are not quantised.
func readGroup(f *fields, form string) *compressedGroup {
	w := f.object("weights")
	if w == nil {
		return nil
	}
	g := &compressedGroup{targets: f.strings("targets"), form: f.string("format", form), inputs: f.has("input_activations")}
	g.bits, g.symmetric, g.width, g.block = w.int("num_bits", 8), w.bool("symmetric", true), w.int("group_size", 0), w.ints("block_structure")
	inferred := map[bool]string{true: "channel", false: cmp.Or(map[bool]string{true: "group"}[g.width > 0], "tensor")}[g.width == -1]
	g.strategy = w.string("strategy", inferred)
	kind := w.string("type", "int")
	if g.form == "naive-quantized" || g.form == "" {
		g.form = kind + "-quantized"
	}
	allowed := map[string][]string{"pack-quantized": {"int4", "int8"}, "int-quantized": {"int8"}, "float-quantized": {"float8"}}[g.form]
	switch {
	case allowed == nil:
		f.fail("format %q is not read: pack-quantized, int-quantized and float-quantized are; %s", g.form, otherFolder)
	case !slices.Contains(allowed, fmt.Sprint(kind, g.bits)):
		f.fail("weights of type %s with num_bits %d are not read in format %q, which has %s; %s", kind, g.bits, g.form, strings.Join(allowed, " or "), otherFolder)
	case !slices.Contains([]string{"tensor", "channel", "group", "block"}, g.strategy):
		f.fail("weights of strategy %q are not read; %s", g.strategy, otherFolder)
	case g.strategy == "group" && (g.width < 1 || g.width > maxSize):
		f.fail("weights of strategy group have group_size %d, want at least 1", g.width)
	case g.strategy == "block" && (len(g.block) != 2 || g.block[0] < 1 || g.block[1] < 1 || g.form == "pack-quantized"):
		f.fail("weights of strategy block in format %q have block_structure %v, want the rows and columns of a block, and no packing", g.form, g.block)
	}
	for _, t := range g.targets {
		pattern, is := strings.CutPrefix(t, "re:")
		if !is {
			continue
		}
		re, err := regexp.Compile("^(?:" + pattern + ")")
		if err != nil {
			f.fail("targets: %q: %v", t, err)
			return nil
		}
		g.patterns = append(g.patterns, re)
	}
	return g
}

// of is the group of a module: by its name, by a pattern, or by its class, which is Linear.
func (c *compressed) of(module string) *compressedGroup {
	for _, fits := range []func(g *compressedGroup) bool{
		func(g *compressedGroup) bool { return slices.Contains(g.targets, module) },
		func(g *compressedGroup) bool {
			return slices.ContainsFunc(g.patterns, func(re *regexp.Regexp) bool { return re.MatchString(module) })
		},
		func(g *compressedGroup) bool { return slices.Contains(g.targets, "Linear") },
	} {
		if i := slices.IndexFunc(c.groups, func(g compressedGroup) bool { return fits(&g) }); i >= 0 {
			return &c.groups[i]
		}
	}
	return nil
}

func (c *compressed) codes(name, dtype string) string {
	if module := moduleOf(name, "weight_packed"); module != "" {
		return module
	}
	if dtype == "I8" || dtype == fp8DType {
		return moduleOf(name, "weight")
	}
	return ""
}

func (c *compressed) activations() bool {
	return slices.ContainsFunc(c.groups, func(g compressedGroup) bool { return g.inputs })
}

func (c *compressed) matrix(p *parts) *grouped {
	g := c.of(p.module)
	_, last := cutLast(p.codes)
	want := map[string]string{"pack-quantized": "weight_packed"}
	switch {
	case g == nil:
		p.fail("no target of quantization_config's config_groups matches its module")
	case last != cmp.Or(want[g.form], "weight"):
		p.fail("quantization_config says that it is %s", g.form)
	case last == "weight_packed":
		return g.packed(p)
	default:
		dtype := map[string]string{"int-quantized": "I8", "float-quantized": fp8DType}[g.form]
		s := scales{part: "weight_scale", dtypes: floatTypes, block: g.block}
		if g.strategy == "group" {
			s.block = []int{1, g.width}
		}
		if !g.symmetric {
			s.zeros = "weight_zero_point"
		} else if p.has("weight_zero_point") { // all zero; some writers keep them
			p.used = append(p.used, p.module+".weight_zero_point")
		}
		return bytesMatrix(p, "compressed-tensors "+map[string]string{"I8": "int8", fp8DType: "FP8 E4M3"}[dtype], dtype, s)
	}
	return &grouped{}
}

// packed reads a matrix whose codes are packed into words.
func (g *compressedGroup) packed(p *parts) *grouped {
	m, x := &grouped{label: fmt.Sprintf("compressed-tensors int%d", g.bits)}, &packedCodes{bits: g.bits}
	shape := p.get("weight_shape", []string{"I64", "I32"}, 2)
	if p.err != nil {
		return m
	}
	size := make([]float32, 2)
	toFloat32(shape.entry.dtype, shape.data(), size)
	for _, d := range size {
		if d < 1 || d > maxSize {
			p.fail("%s.weight_shape is %v", p.module, size)
			return m
		}
	}
	m.rows, m.cols, m.packing = int(size[0]), int(size[1]), x
	x.packed = p.get("weight_packed", integerTypes, m.rows, (m.cols*g.bits+31)/32)
	switch m.width = m.cols; g.strategy {
	case "group":
		m.width = g.width
		x.scales = p.get("weight_scale", floatTypes, m.rows, m.groups())
	case "channel":
		x.scales = p.get("weight_scale", floatTypes, m.rows, 1)
	default:
		x.scales, x.one = p.get("weight_scale", floatTypes, 1), true
	}
	switch {
	case g.symmetric:
		if p.has("weight_zero_point") {
			p.used = append(p.used, p.module+".weight_zero_point")
		}
	case x.one:
		x.zeros = p.get("weight_zero_point", []string{"I8"}, 1)
	default:
		x.zeros = p.get("weight_zero_point", integerTypes, (m.rows*g.bits+31)/32, m.groups())
	}
	if p.has("weight_g_idx") && p.err == nil {
		m.setOrder(p, "weight_g_idx")
	}
	return m
}

// packedCodes are the parts of a matrix in words.
type packedCodes struct {
	bits                  int
	one                   bool // one scale for the whole matrix
	packed, scales, zeros location
}

func (x *packedCodes) codes(first, cols int, dst []float32) {
	data, words, each := x.packed.data(), x.packed.entry.shape[1], 32/x.bits
	for r := range len(dst) / cols {
		row, from := dst[r*cols:][:cols], data[4*(first+r)*words:]
		for i := range words {
			unpack(binary.LittleEndian.Uint32(from[4*i:]), x.bits, 1<<(x.bits-1), row[i*each:min((i+1)*each, cols)])
		}
	}
}

func (x *packedCodes) scale(row, group int) (scale, zero float32) {
	if x.one {
		if x.zeros.file != nil {
			zero = number(x.zeros, 0)
		}
		return number(x.scales, 0), zero
	}
	groups := x.scales.entry.shape[1]
	if x.zeros.file != nil {
		each, half := 32/x.bits, float32(int(1)<<(x.bits-1))
		zero = field(word(x.zeros, row/each*groups+group), x.bits, row%each) - half
	}
	return number(x.scales, row*groups+group), zero
}
