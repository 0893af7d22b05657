package config

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const shared = "../../../shared/"

// outcomes are the results for upstream's example files: the first entry whose words all
// occur in the path applies; "" = it loads.
var outcomes = []struct{ path, want string }{
	{"accelerate", `unknown key "compute_environment": it belongs to an accelerate configuration`},
	{"docker-compose", `unknown key "services": it belongs to a docker compose file`},
	{"data/v1_", "unknown key"},
	{"examples/v1/", `unknown key "model": it belongs to LLaMA-Factory's v1 format`},
	{"merge_lora", "export_dir: this configuration exports a model"},
	{"adam_mini", "use_adam_mini: this optimizer is not supported here"},
	{"apollo", "use_apollo: this optimizer is not supported here"},
	{"badam", "use_badam: this optimizer is not supported here"},
	{"galore", "use_galore: this optimizer is not supported here"},
	{"asft", "use_asft_loss: the ASFT loss is not supported here"},
	{"eaft", "use_eaft_loss: the EAFT loss is not supported here"},
	{"fp8", "fp8: FP8 training is not supported here"},
	{"extras/mod/", "mixture_of_depths: mixture-of-depths is not supported here"},
	{"oft", "finetuning_type: orthogonal fine-tuning (oft) is not supported here"},
	{"examples/inference", "do_train: there is nothing to do"},
	{"ktransformers", "use_kt: KTransformers is not supported here"},
	{"megatron", "it belongs to Megatron's settings"},
	{"lora_dpo", "stage: preference and reward training (dpo) is not supported here"},
	{"lora_kto", "stage: preference and reward training (kto) is not supported here"},
	{"lora_reward", "stage: preference and reward training (rm) is not supported here"},
	{"sft_ray", "dataset_dir: REMOTE:llamafactory/demo_data is on a hub"},
	{"", ""},
}

// Every example file of upstream loads, or is refused for the right reason.
func TestSharedExamples(t *testing.T) {
	raw, err := os.ReadFile(shared + "data/yaml/configs_pyyaml.jsonl.gz")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no ../shared beside the checkout")
	}
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<22)
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("examples/deepspeed", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("examples/deepspeed/ds_z3_config.json", []byte(zero("3", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, refused := 0, 0
	for lines.Scan() {
		var example struct{ Path, YAML string }
		if err := json.Unmarshal(lines.Bytes(), &example); err != nil {
			t.Fatal(err)
		}
		if _, err = loadText(example.YAML); err == nil {
			loaded++
		} else {
			refused++
		}
		for _, o := range outcomes {
			if !strings.Contains(example.Path, o.path) {
				continue
			}
			if (o.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), o.want) {
				t.Errorf("%s: got %v, want %q", example.Path, err, o.want)
			}
			break
		}
		if exports := strings.Contains(example.Path, "merge_lora"); exports {
			if _, err := LoadExport("c.yaml", nil); err != nil {
				t.Errorf("%s: %v", example.Path, err)
			}
		}
	}
	t.Logf("%d load, %d are refused", loaded, refused)
}

// Every recorded run loads.
func TestSharedRuns(t *testing.T) {
	files, err := filepath.Glob(shared + "golden/runs/*/config.yaml")
	if err != nil || len(files) == 0 {
		t.Skip("no ../shared beside the checkout")
	}
	for _, file := range files {
		c, err := Load(file, []string{"output_dir=out"})
		name := filepath.Base(filepath.Dir(file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.HasPrefix(name, "less") {
			if comp, err := LoadComponent(filepath.Join(shared, "golden", c.Dynamic.ComponentsCfgFile), "selectors", c.Dynamic.ComponentName); err != nil || comp.Name != "less" {
				t.Errorf("%s: %+v, %v", name, comp, err)
			}
		}
	}
}
