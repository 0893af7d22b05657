package checkpoint

import (
	"fmt"
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
)

// Quantised weights are integers that mean something only with scales beside them: read
// as numbers they would make another model. bitsandbytes' and MXFP4 are read; a folder of
// others is refused by name, by its config.json or by its tensors.

const unquantised = "of quantised weights bitsandbytes' and MXFP4 are read here: name the folder of the model's weights in bf16, fp16 or float32"

// refuseQuantised fails on a config.json that says that its weights were quantised, and not
// by bitsandbytes or as MXFP4.
func refuseQuantised(f *fields) {
	for _, key := range []string{"quantization_config", "compression_config"} {
		q, ok := f.raw[key].(map[string]any)
		if !ok {
			continue
		}
		method, _ := q["quant_method"].(string)
		if method == mxMethod {
			delete(f.raw, key) // what is written is numbers
			continue
		}
		four, _ := q["load_in_4bit"].(bool)
		eight, _ := q["load_in_8bit"].(bool)
		if (method == "bitsandbytes" || method == "") && (four || eight) {
			continue
		}
		if method == "" {
			method = string(pyjson.EncodeASCII(q, -1))
		}
		f.fail("%s says that the weights are quantised (%s): %s", key, method, unquantised)
	}
}

// quantisedParts are ends, and parts, of the names of tensors that quantised weights
// consist of: bitsandbytes, GPTQ, AWQ, compressed-tensors, fp8 and MXFP4.
var quantisedParts = []string{
	".weight", ".qweight", ".qzeros", ".scales", ".g_idx", "weight_packed", "weight_shape", "_blocks", "_scales",
	".absmax", ".quant_map", ".quant_state", ".SCB",
}

// checkQuantised refuses tensors of quantised weights.
func (w *Weights) checkQuantised() error {
	for _, name := range w.names {
		dtype := w.DType(name)
		if _, coded := w.Coded(name); coded {
			continue
		}
		switch dtype {
		case "F32", "F16", "BF16", "F64", mxDType:
			continue
		}
		narrow := strings.HasPrefix(dtype, "F8_") || strings.HasPrefix(dtype, "F6_") || dtype == "F4"
		for _, part := range quantisedParts {
			if narrow || strings.Contains(name, part) {
				return fmt.Errorf("%s: tensor %q is %s: %s", w.Path(name), name, dtype, unquantised)
			}
		}
	}
	return nil
}

// backbones are the paths of a causal language model's layers in it, by the embeddings in
// them. A folder of the layers alone (Qwen3-Embedding, every *Model class) leaves them out
// of its names, and so does the first gpt2.
var backbones = map[string]string{
	"embed_tokens.weight": "model.", "embed_in.weight": "gpt_neox.", "word_embeddings.weight": "transformer.", "wte.weight": "transformer.",
}

// withBackbone names the tensors of a folder of the layers alone as a whole model's.
func (w *Weights) withBackbone() {
	backbone := ""
	for name, path := range backbones {
		if _, flat := w.tensors[name]; flat {
			backbone = path
		}
	}
	if backbone == "" {
		return
	}
	named := map[string]location{}
	for i, name := range w.names {
		t := w.tensors[name]
		if !strings.HasPrefix(name, backbone) && !strings.HasPrefix(name, "lm_head.") && !strings.HasPrefix(name, "embed_out.") && !strings.HasPrefix(name, "score.") {
			name = backbone + name
			t.entry.name = name
		}
		w.names[i], named[name] = name, t
	}
	w.tensors = named
}
