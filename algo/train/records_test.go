package train_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// scalars reads a run's TensorBoard file: step, tag, value, in TensorFlow's event and
// summary messages. The checksums are tested in algo/report.
func scalars(t *testing.T, dir string) map[string]float64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	// message calls each with every field of a protocol buffer: numbers and bytes.
	message := func(b []byte, each func(field, number uint64, content []byte)) {
		for len(b) > 0 {
			key, n := binary.Uvarint(b)
			b = b[n:]
			var number uint64
			var content []byte
			switch key & 7 {
			case 0:
				number, n = binary.Uvarint(b)
				b = b[n:]
			case 1:
				number, b = binary.LittleEndian.Uint64(b), b[8:]
			case 2:
				size, n := binary.Uvarint(b)
				content, b = b[n:n+int(size)], b[n+int(size):]
			case 5:
				number, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
			}
			each(key>>3, number, content)
		}
	}
	out := map[string]float64{}
	for len(raw) > 0 {
		size := binary.LittleEndian.Uint64(raw)
		var step uint64
		message(raw[12:12+size], func(field, number uint64, summary []byte) {
			switch field {
			case 2:
				step = number
			case 5:
				message(summary, func(_, _ uint64, value []byte) {
					var tag string
					var v float64
					message(value, func(field, number uint64, content []byte) {
						switch field {
						case 1:
							tag = string(content)
						case 2:
							v = float64(math.Float32frombits(uint32(number)))
						}
					})
					out[fmt.Sprintf("%d %s", step, tag)] = v
				})
			}
		})
		raw = raw[16+size:]
	}
	return out
}

// objects reads a file of JSON objects: one per line, or a single one.
func objects(t *testing.T, path string) (out []map[string]any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := json.NewDecoder(f); d.More(); {
		var o map[string]any
		if err := d.Decode(&o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// TestFilesAgree: all files of a run agree with trainer_state.json.
func TestFilesAgree(t *testing.T) {
	f := newFixture(t)
	args := []string{"report_to=tensorboard", "train_type=dynamic_select", "component_name=less", "warmup_step=2", "update_step=2", "eval_strategy=steps", "eval_steps=3", "logging_steps=2", "do_eval=true"}
	if err := f.run(args...); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(f.dir, "out")
	state := objects(t, filepath.Join(out, "trainer_state.json"))[0]
	board := scalars(t, filepath.Join(out, "runs"))
	log := objects(t, filepath.Join(out, "trainer_log.jsonl"))
	results := objects(t, filepath.Join(out, "all_results.json"))[0]
	card, err := os.ReadFile(filepath.Join(out, "README.md"))
	if err != nil {
		t.Fatal(err)
	}

	kinds := map[string]int{}
	for _, raw := range state["log_history"].([]any) {
		entry := raw.(map[string]any)
		step := int(entry["step"].(float64))
		for key, v := range entry {
			if key == "step" {
				continue
			}
			value := v.(float64)
			tag := "train/" + key
			if rest, ok := strings.CutPrefix(key, "eval_"); ok {
				tag = "eval/" + rest
			}
			kinds[tag]++
			if got, ok := board[fmt.Sprintf("%d %s", step, tag)]; !ok || got != float64(float32(value)) {
				t.Errorf("TensorBoard, step %d: %s is %v (%t), not %v", step, tag, got, ok, value)
			}
			if in, ok := map[string]string{"loss": "loss", "learning_rate": "lr", "eval_loss": "eval_loss", "selection_runtime": "selection_runtime", "selection_samples_per_second": "selection_samples_per_second"}[key]; ok && !logged(log, step, in, value) {
				t.Errorf("trainer_log.jsonl, step %d: no %s of %v", step, in, value)
			}
			if _, ok := results[key]; ok && strings.HasPrefix(key, "train_") && results[key] != value {
				t.Errorf("all_results.json: %s is %v, not %v", key, results[key], value)
			}
			if key == "eval_loss" && !strings.Contains(string(card), fmt.Sprintf(" | %d | %s |", step, strconv.FormatFloat(math.Round(value*1e4)/1e4, 'f', -1, 64))) {
				t.Errorf("the model card has no evaluation at step %d of %v", step, value)
			}
		}
	}
	for tag, n := range map[string]int{"train/loss": 3, "train/grad_norm": 3, "train/learning_rate": 3, "eval/loss": 2, "eval/runtime": 2, "train/selection_runtime": 2, "train/train_runtime": 1} {
		if kinds[tag] != n {
			t.Errorf("%d times %s, not %d", kinds[tag], tag, n)
		}
	}
	for _, key := range []string{"2 train/tokens_per_second", "6 train/tokens_per_second", "2 selection/overlap", "4 selection/overlap", "2 selection/new", "4 selection/score_mean_all", "4 selection/score_mean_chosen", "4 selection/seconds"} {
		if _, ok := board[key]; !ok {
			t.Errorf("TensorBoard has no %s", key)
		}
	}
	if board["2 selection/new"] != 1 || board["2 selection/overlap"] != 0 || board["4 selection/score_mean_chosen"] <= board["4 selection/score_mean_all"] {
		t.Errorf("the first selection is not all new, or the second did not choose the highest scores: %v", board)
	}
}

func logged(log []map[string]any, step int, key string, value float64) bool {
	for _, l := range log {
		if l["current_steps"] == float64(step) && l[key] == value {
			return true
		}
	}
	return false
}

// TestTensorBoardOfMixturesAndWeights: shares and losses of the domains, spread of the
// weights.
func TestTensorBoardOfMixturesAndWeights(t *testing.T) {
	f := small(t)
	for _, c := range []struct {
		m    method
		tags []string
	}{
		{method{"mixer", "odm", "faithful", "warmup_steps: 1", []string{"train_type=dynamic_mix", "dataset=pool,other,single", "max_steps=5"}}, []string{"0 mixture/pool", "1 mixture/other", "3 mixture/single", "1 mixture_loss/pool"}},
		{method{"weighter", "loss", "faithful", "", []string{"train_type=dynamic_weight", "max_steps=4"}}, []string{"2 weights/lowest", "2 weights/median", "4 weights/highest"}},
	} {
		out := filepath.Join(f.dir, c.m.name)
		if err := f.run(c.m.arguments(f, "report_to=tensorboard", "output_dir="+out, "logging_steps=1")...); err != nil {
			t.Fatal(err)
		}
		board := scalars(t, filepath.Join(out, "runs"))
		for _, tag := range c.tags {
			if _, ok := board[tag]; !ok {
				t.Errorf("%s: no %s in %v", c.m, tag, board)
			}
		}
		if c.m.kind == "mixer" {
			if sum := board["3 mixture/pool"] + board["3 mixture/other"] + board["3 mixture/single"]; math.Abs(sum-1) > 1e-6 {
				t.Errorf("the shares sum to %v", sum)
			}
		}
	}
}
