package train_test

import (
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// recordedRun is a run of DataFlex 1.1.0 (torch 2.7.1, transformers 4.57.6, one
// thread): its arguments and its log. The losses show which rows it trained on.
type recordedRun struct {
	Keys       []string  `json:"keys"`
	Components string    `json:"components"`
	Loss       []float64 `json:"loss"`
	Norm       []float64 `json:"norm"`
}

const pipelineKeys = `model_name_or_path: models/tiny-llama
adapter_name_or_path: models/tiny-llama-lora
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 8
lora_alpha: 16
lora_dropout: 0.0
dataset_dir: data
template: qwen
learning_rate: 0.001
lr_scheduler_type: cosine
warmup_ratio: 0.1
logging_steps: 1
save_steps: 1000
save_only_model: true
train_type: dynamic_lego
component_name: p
`

// TestRecordedPipelines replays pipelines of many shapes in mode upstream: filters and
// draws, scarce domains, replacement, new pools under an order, Flex epochs that end with
// too few rows, DoReMi's own step counter, shared losses of some age, label smoothing.
func TestRecordedPipelines(t *testing.T) { replayAll(t, "testdata/pipelines.json") }

// TestRecordedComponents replays what random configurations found to differ: ODM's parameters
// that upstream's registry drops, label smoothing under DoReMi, a weighter and a reorder that
// predicts every token but the first, a projection to fewer than 128 numbers, and a warm-up
// that begins with fewer rows in the pass than it asks for.
func TestRecordedComponents(t *testing.T) { replayAll(t, "testdata/components.json") }

func replayAll(t *testing.T, file string) {
	var all map[string]recordedRun
	readJSON(t, file, &all)
	if _, err := os.Stat(golden); err != nil {
		t.Skip("the models and rows that they were recorded with are not here: ", err)
	}
	if testing.Short() {
		t.Skip("whole runs take half a minute")
	}
	recordedHere(t)
	for name, want := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want.replay(t, name)
		})
	}
}

var (
	paramsOf = regexp.MustCompile(`(\n    name: \w+\n    params:\n)`)
	cacheOf  = regexp.MustCompile(`cache_dir: \S+`)
)

func (want recordedRun) replay(t *testing.T, name string) {
	parts := cacheOf.ReplaceAllString(paramsOf.ReplaceAllString(want.Components, "${1}      mode: upstream\n"), "cache_dir: caches/"+name)
	for path, text := range map[string]string{name + ".parts.yaml": parts, name + ".yaml": pipelineKeys} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join("out", name)
	c, err := config.Load(name+".yaml", append(want.Keys, "components_cfg_file="+name+".parts.yaml", "output_dir="+out))
	if err != nil {
		t.Fatal(err)
	}
	if err := train.Run(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	loss, norm := losses(t, out)
	if len(loss) != len(want.Loss) {
		t.Fatalf("%d steps, recorded %d", len(loss), len(want.Loss))
	}
	for i := range loss {
		// Losses are logged with four decimals, norms agree to the precision of float32
		// sums.
		if math.Abs(loss[i]-want.Loss[i]) > 1.1e-4*(1+1e-5*want.Loss[i]) || math.Abs(norm[i]-want.Norm[i]) > 3e-4*want.Norm[i] {
			t.Errorf("%s, step %d: loss %v norm %v, recorded %v and %v", strings.ReplaceAll(name, "_", " "), i+1, loss[i], norm[i], want.Loss[i], want.Norm[i])
		}
	}
}
