package train_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// TestPlanReadsNoWeights: the plan of a model whose tensors are holes in a file of a terabyte, which is
// more than any machine here holds, is printed all the same, with the time that it would take;
// then it is said that it does not fit.
func TestPlanReadsNoWeights(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		selector string
		costs    bool
	}{{"less", true}, {"loss", true}, {"random", false}} {
		var plan bytes.Buffer
		err := f.dryRun(&plan, "train_type=dynamic_select", "component_name="+c.selector, "max_steps=-1", "num_train_epochs=1.0")
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^speed +\S+ GFLOP/s in products just now, so about \S+ \S+ a step\n`).Match(plan.Bytes()) ||
			!regexp.MustCompile(`(?m)^time +about \S+ \S+ from the start to the end\n`).Match(plan.Bytes()) {
			t.Errorf("%s: no time in\n%s", c.selector, plan.String())
		}
		if said := regexp.MustCompile(`(?m)^selection +about \S+ \S+ each: 48 rows and 4 evaluation rows, `).Match(plan.Bytes()); said != c.costs {
			t.Errorf("%s: a selection's cost is said: %v\n%s", c.selector, said, plan.String())
		}
	}
	if _, err := os.Stat(filepath.Join(f.dir, "out")); !os.IsNotExist(err) {
		t.Errorf("a plan left an output_dir: %v", err)
	}
	huge := f.hugeModel()
	var plan bytes.Buffer
	err := f.dryRun(&plan, "model_name_or_path="+huge)
	if err == nil || !strings.Contains(err.Error(), "the run needs 2.1 TiB and the device has ") || !strings.Contains(plan.String(), "weights 2.1 TiB") {
		t.Errorf("%v\n%s", err, plan.String())
	}
}

// dryRun prints the plan of the fixture's run.
func (f *fixture) dryRun(plan *bytes.Buffer, overrides ...string) error {
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), overrides)
	if err != nil {
		return err
	}
	return train.Run(context.Background(), c, train.Options{DryRun: true, Out: plan, Log: slog.New(slog.DiscardHandler)})
}

// hugeModel is the fixture's tokenizer beside a llama of 19 layers of width 65536, whose
// weights are a file without content.
func (f *fixture) hugeModel() string {
	f.t.Helper()
	dir := filepath.Join(f.dir, "huge")
	if err := os.CopyFS(dir, os.DirFS(model)); err != nil {
		f.t.Fatal(err)
	}
	const hidden, layers, vocab = 65536, 19, 1024
	f.json("huge/config.json", map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden, "intermediate_size": hidden,
		"num_hidden_layers": layers, "num_attention_heads": 512, "num_key_value_heads": 512, "head_dim": 128, "vocab_size": vocab,
		"max_position_embeddings": 256, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
	})
	names := map[string][]int{"model.embed_tokens.weight": {vocab, hidden}, "model.norm.weight": {hidden}}
	for i := range layers {
		at := "model.layers." + strconv.Itoa(i) + "."
		for _, norm := range []string{"input_layernorm", "post_attention_layernorm"} {
			names[at+norm+".weight"] = []int{hidden}
		}
		for _, m := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
			names[at+m+".weight"] = []int{hidden, hidden}
		}
	}
	head, end := map[string]any{}, 0
	for name, shape := range names {
		n := 2
		for _, d := range shape {
			n *= d
		}
		head[name] = map[string]any{"dtype": "BF16", "shape": shape, "data_offsets": []int{end, end + n}}
		end += n
	}
	raw, err := json.Marshal(head)
	if err != nil {
		f.t.Fatal(err)
	}
	raw = append(binary.LittleEndian.AppendUint64(nil, uint64(len(raw))), raw...)
	path := filepath.Join(dir, "model.safetensors")
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(raw)+end)); err != nil {
		f.t.Skip("no file with holes here: ", err)
	}
	return dir
}

// TestDropLastOfAllRows: a run whose rows are fewer than a micro-batch would take steps without
// any row; 48 rows are one micro-batch, 47 none.
func TestDropLastOfAllRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var plan bytes.Buffer
	batch := []string{"per_device_train_batch_size=48", "dataloader_drop_last=true", "max_steps=-1", "num_train_epochs=1.0"}
	if err := f.dryRun(&plan, batch...); err != nil {
		t.Errorf("48 rows: %v", err)
	}
	err := f.dryRun(&plan, append(batch, "max_samples=47")...)
	if err == nil || !strings.Contains(err.Error(), "dataloader_drop_last: the training rows, 47, are fewer than the 48") {
		t.Errorf("47 rows: %v", err)
	}
}
