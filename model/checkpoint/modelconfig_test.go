package checkpoint

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dataflex.dev/dataflex/data/storage"
)

const llamaConfig = `{
  "architectures": [
    "LlamaForCausalLM"
  ],
  "eos_token_id": [
    2,
    7
  ],
  "hidden_size": 48,
  "intermediate_size": 96,
  "made_up_key": {
    "ratio": 1e-05,
    "text": "\u00e9"
  },
  "model_type": "llama",
  "num_attention_heads": 4,
  "num_hidden_layers": 2,
  "num_key_value_heads": 2,
  "rms_norm_eps": 1e-05,
  "rope_scaling": {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 16,
    "rope_type": "llama3"
  },
  "rope_theta": 500000.0,
  "torch_dtype": "bfloat16",
  "use_cache": true,
  "vocab_size": 256
}
`

// folder makes a folder with one file.
func folder(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, name), []byte(text))
	return dir
}

// edited makes a folder with the file name, a JSON object with some keys set, or removed if
// the value is "".
func edited(t *testing.T, name, object string, edits map[string]string) string {
	t.Helper()
	var raw map[string]json.RawMessage
	ok(t, json.Unmarshal([]byte(object), &raw))
	for key, v := range edits {
		if raw[key] = json.RawMessage(v); v == "" {
			delete(raw, key)
		}
	}
	text, err := json.Marshal(raw)
	ok(t, err)
	return folder(t, name, string(text))
}

func TestReadModelConfig(t *testing.T) {
	dir := folder(t, "config.json", llamaConfig)
	c, err := ReadModelConfig(dir)
	ok(t, err)
	want := &ModelConfig{
		Path: filepath.Join(dir, "config.json"), ModelType: "llama", Architectures: []string{"LlamaForCausalLM"},
		HiddenSize: 48, IntermediateSize: 96, NumHiddenLayers: 2, NumAttentionHeads: 4, NumKeyValueHeads: 2, HeadDim: 12, RotaryDim: 12,
		VocabSize: 256, MaxPositionEmbeddings: 2048, HiddenAct: "silu", RMSNormEps: 1e-5, InitializerRange: 0.02,
		RopeTheta: 500000, TorchDType: "bfloat16", BOSTokenID: -1, EOSTokenIDs: []int{2, 7}, PadTokenID: -1,
		RopeScaling: &RopeScaling{Type: "llama3", Factor: 8, HighFreqFactor: 4, LowFreqFactor: 1, OriginalMaxPositionEmbeddings: 16},
	}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(ModelConfig{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	// Written back: all keys unchanged, the cache off, the dtype of training.
	out := t.TempDir()
	ok(t, WriteModelConfig(out, c, "float32"))
	got, err := os.ReadFile(filepath.Join(out, "config.json"))
	ok(t, err)
	text := strings.NewReplacer(`"use_cache": true`, `"use_cache": false`, "bfloat16", "float32").Replace(llamaConfig)
	if string(got) != text {
		t.Errorf("written:\n%s", got)
	}
	if v, present := c.Value("made_up_key"); !present || v == nil {
		t.Errorf("unknown key: %v", v)
	}
}

// The values of a family's class for keys that the file lacks, and both spellings of keys
// that were renamed.
func TestModelConfigDefaults(t *testing.T) {
	type check func(c *ModelConfig) bool
	for _, c := range []struct {
		name  string
		edits map[string]string
		good  check
	}{
		{"kv heads absent", map[string]string{"num_key_value_heads": ""}, func(c *ModelConfig) bool { return c.NumKeyValueHeads == 4 }},
		{"kv heads null", map[string]string{"num_key_value_heads": "null", "model_type": `"mistral"`}, func(c *ModelConfig) bool { return c.NumKeyValueHeads == 4 }},
		{"mistral kv heads", map[string]string{"num_key_value_heads": "", "num_attention_heads": "16", "model_type": `"mistral"`}, func(c *ModelConfig) bool { return c.NumKeyValueHeads == 8 }},
		{"head_dim null", map[string]string{"head_dim": "null"}, func(c *ModelConfig) bool { return c.HeadDim == 12 }},
		{"head_dim given", map[string]string{"head_dim": "20", "hidden_size": "50"}, func(c *ModelConfig) bool { return c.HeadDim == 20 }},
		{"floats that are whole", map[string]string{"hidden_size": "48.0"}, func(c *ModelConfig) bool { return c.HiddenSize == 48 }},
		{"llama biases", map[string]string{"attention_bias": "true", "mlp_bias": "true"}, func(c *ModelConfig) bool { return c.QKVBias && c.OutputBias && c.MLPBias }},
		{"qwen2 biases", map[string]string{"model_type": `"qwen2"`}, func(c *ModelConfig) bool { return c.QKVBias && !c.OutputBias && !c.MLPBias }},
		{"qwen2 window off", map[string]string{"model_type": `"qwen2"`, "sliding_window": "64"}, func(c *ModelConfig) bool { return c.Window(99) == 0 }},
		{
			"qwen2 window on",
			map[string]string{"model_type": `"qwen2"`, "sliding_window": "64", "use_sliding_window": "true", "max_window_layers": "1"},
			func(c *ModelConfig) bool { return c.Window(0) == 0 && c.Window(1) == 64 },
		},
		{"mistral window", map[string]string{"model_type": `"mistral"`}, func(c *ModelConfig) bool { return c.Window(0) == 4096 && c.MaxPositionEmbeddings == 131072 }},
		{"mistral window null", map[string]string{"model_type": `"mistral"`, "sliding_window": "null"}, func(c *ModelConfig) bool { return c.Window(0) == 0 }},
		{"one eos", map[string]string{"eos_token_id": "5"}, func(c *ModelConfig) bool { return len(c.EOSTokenIDs) == 1 && c.EOSTokenIDs[0] == 5 }},
		{"no eos", map[string]string{"eos_token_id": "null"}, func(c *ModelConfig) bool { return len(c.EOSTokenIDs) == 0 }},
		{"old rope spelling", map[string]string{"rope_scaling": `{"type": "linear", "factor": 2}`}, func(c *ModelConfig) bool { return c.RopeScaling.Type == "linear" && c.RopeScaling.Factor == 2 }},
		{"both rope spellings", map[string]string{"rope_scaling": `{"type": "linear", "rope_type": "dynamic", "factor": 2}`}, func(c *ModelConfig) bool { return c.RopeScaling.Type == "linear" }},
		{"rope null", map[string]string{"rope_scaling": "null"}, func(c *ModelConfig) bool { return c.RopeScaling == nil }},
		{"rope default", map[string]string{"rope_scaling": `{"rope_type": "default"}`}, func(c *ModelConfig) bool { return c.RopeScaling == nil }},
		{
			"transformers 5",
			map[string]string{"rope_scaling": "", "rope_theta": "", "torch_dtype": "", "dtype": `"float16"`, "rope_parameters": `{"rope_type": "default", "rope_theta": 7.5}`},
			func(c *ModelConfig) bool {
				return c.RopeScaling == nil && c.RopeTheta == 7.5 && c.TorchDType == "float16"
			},
		},
		{
			"longrope lists",
			map[string]string{"rope_scaling": `{"type": "longrope", "short_factor": [1, 1.5], "long_factor": [2, 3]}`},
			func(c *ModelConfig) bool { return reflect.DeepEqual(c.RopeScaling.LongFactor, []float64{2, 3}) },
		},
		{"tied", map[string]string{"tie_word_embeddings": "true"}, func(c *ModelConfig) bool { return c.TieWordEmbeddings }},
		{"gemma is tied", map[string]string{"model_type": `"gemma"`}, func(c *ModelConfig) bool { return c.TieWordEmbeddings }},
	} {
		got, err := ReadModelConfig(edited(t, "config.json", llamaConfig, c.edits))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !c.good(got) {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

func TestModelConfigErrors(t *testing.T) {
	for _, c := range []struct {
		edits map[string]string
		want  string
	}{
		{map[string]string{"model_type": ""}, "model_type is missing"},
		{map[string]string{"hidden_size": ""}, "hidden_size is missing"},
		{map[string]string{"hidden_size": `"48"`}, `hidden_size is "48", want a number`},
		{map[string]string{"hidden_size": "48.5"}, "hidden_size is 48.5, want an integer"},
		{map[string]string{"hidden_size": "1e400"}, "hidden_size is +Inf, out of range"},
		{map[string]string{"vocab_size": "0"}, "vocab_size is 0, want at least 1"},
		{map[string]string{"hidden_size": "50"}, "hidden_size 50 is not a multiple of num_attention_heads 4 and head_dim is not given"},
		{map[string]string{"num_key_value_heads": "3"}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
		{map[string]string{"tie_word_embeddings": `"yes"`}, `tie_word_embeddings is "yes", want true or false`},
		{map[string]string{"rms_norm_eps": "-1"}, "rms_norm_eps is -1"},
		{map[string]string{"rope_theta": "0"}, "rope_theta is 0"},
		{map[string]string{"architectures": "[1]"}, "architectures holds 1, want strings"},
		{map[string]string{"eos_token_id": `["x"]`}, `eos_token_id is "x", want a number`},
		{map[string]string{"sliding_window": "-5"}, "sliding_window is -5"},
		{map[string]string{"rope_scaling": "[]"}, "rope_scaling is [], want an object or null"},
		{map[string]string{"rope_scaling": `{"factor": 2}`}, "rope_scaling: rope_type is missing"},
		{map[string]string{"rope_scaling": `{"type": "linear"}`}, "rope_scaling: factor is missing, rope_type linear needs it"},
		{map[string]string{"rope_scaling": `{"type": "yarn", "factor": 0.5}`}, "rope_scaling: factor is 0.5"},
		{map[string]string{"rope_scaling": `{"type": "llama3", "factor": 2}`}, "rope_scaling: low_freq_factor is missing"},
		{map[string]string{"rope_scaling": `{"type": "longrope", "long_factor": ["x"]}`}, `rope_scaling: long_factor is "x", want a number`},
	} {
		dir := edited(t, "config.json", llamaConfig, c.edits)
		_, err := ReadModelConfig(dir)
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")+": "+c.want) {
			t.Errorf("%v: got %v, want %q", c.edits, err, c.want)
		}
	}
	for text, want := range map[string]string{
		"":         "not a JSON object",
		"[]":       "not a JSON object",
		"null":     "not a JSON object",
		"{} {}":    "not a JSON object: JSON: line 1, column 4: expected nothing more",
		`{"a": 1,`: "not a JSON object: JSON: line 1, column 9: expected a string",
	} {
		if _, err := ReadModelConfig(folder(t, "config.json", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	if _, err := ReadModelConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a Hugging Face model folder") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadModelConfig(folder(t, storage.AdapterConfigFile, "{}")); err == nil || !strings.Contains(err.Error(), "give it as adapter_name_or_path") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadModelConfig("org/name"); err == nil || !strings.Contains(err.Error(), "dataflex-cli download org/name") {
		t.Errorf("got %v", err)
	}
}

// Python's json.dumps(…, indent=2, sort_keys=True) of the same values.
func TestFormatJSON(t *testing.T) {
	got := string(formatJSON(map[string]any{
		"b": []any{1, 2.0, 1e-5, 0.0001, 1e16, 123456789012345.0, -0.5, 16.0},
		"a": map[string]any{}, "e": []any{}, "s": "\"\\/\n\t\x01é😀\x7f<>&\u2028", "n": nil, "t": true, "l": []string{"x"},
	}, 2))
	want := "{\n  \"a\": {},\n  \"b\": [\n    1,\n    2.0,\n    1e-05,\n    0.0001,\n    1e+16,\n    123456789012345.0,\n    -0.5,\n    16.0\n  ],\n" +
		"  \"e\": [],\n  \"l\": [\n    \"x\"\n  ],\n  \"n\": null,\n  \"s\": \"\\\"\\\\/\\n\\t\\u0001\\u00e9\\ud83d\\ude00\\u007f<>&\\u2028\",\n  \"t\": true\n}"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestImpossibleSizes: a damaged config.json is refused by key before memory is allocated.
func TestImpossibleSizes(t *testing.T) {
	const whole = `{"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":100`
	for _, key := range []string{"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size", "head_dim", "max_position_embeddings"} {
		for _, value := range []string{"9007199254740992", "1000000000000", "-1", "0"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(whole+`,"`+key+`":`+value+"}"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadModelConfig(dir); err == nil || !strings.Contains(err.Error(), key+" is "+value) {
				t.Errorf("%s %s: %v", key, value, err)
			}
		}
	}
}
