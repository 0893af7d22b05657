package checkpoint

import (
	"fmt"
	"strings"
)

// Quantised weights are integers that have a meaning only together with scales: read as
// numbers they would be a different model. A folder in an unsupported format is refused with
// its name, found in config.json or by its tensors.

const (
	unquantised = "of quantised weights bitsandbytes', GPTQ's, AWQ's, compressed-tensors', fp8 and MXFP4 are read here: " + otherFolder
	otherFolder = "name the folder of the model's weights in bf16, fp16 or float32"
)

// quantisedParts are suffixes, and parts, of the names of tensors of which quantised weights
// consist: bitsandbytes, GPTQ, AWQ, compressed-tensors, fp8 and MXFP4.
var quantisedParts = []string{
	".weight", ".qweight", ".qzeros", ".scales", ".g_idx", "weight_packed", "weight_shape", "_blocks", "_scales",
	".absmax", ".quant_map", ".quant_state", ".SCB",
}

// quantised reports whether a tensor has codes of a format that config.json describes.
func (w *Weights) quantised(name string) bool {
	_, last := cutLast(name)
	dtype := w.DType(name)
	return last == "qweight" || last == "weight_packed" || last == "weight" && (dtype == "I8" || dtype == fp8DType)
}

// checkQuantised refuses tensors of quantised weights.
func (w *Weights) checkQuantised() error {
	for _, name := range w.names {
		dtype := w.DType(name)
		if w.Quantised(name) != "" {
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

// backbones are the paths of a causal language model's layers in the whole model, by the
// name of its embeddings. A folder of only the layers (Qwen3-Embedding, every *Model class)
// leaves them out of its names, and so does the first gpt2.
var backbones = map[string]string{
	"embed_tokens.weight": "model.", "embed_in.weight": "gpt_neox.", "word_embeddings.weight": "transformer.", "wte.weight": "transformer.",
}

// withBackbone gives the tensors of a folder of only the layers the names of a whole model.
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
