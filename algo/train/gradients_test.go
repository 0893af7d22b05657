package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	driverlanes "dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/tensor"
)

// wideModel writes a model of random weights whose layers are large enough to be sharded one
// by one, with the demo's tokenizer.
func wideModel(t *testing.T, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS("../../tools/dataflex-demo/model")); err != nil {
		t.Fatal(err)
	}
	c := `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 128, "intermediate_size": 320,
		"num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": false,
		"max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000, "initializer_range": 0.1, "eos_token_id": 509, "pad_token_id": 509}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(c), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := decoder.Init(cpu.New(1), dir, decoder.Options{}, rand.New(rand.NewPCG(17, 9)).NormFloat64)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.SaveFull(dir); err != nil {
		t.Fatal(err)
	}
}

// TestShardedMemory: at stage 2 a process keeps its part of the gradients' sum and the window, at
// stage 3 also its part of the weights and those of two sections; what the plan says, on a device
// that only counts, is what a run takes, to 5 %.
func TestShardedMemory(t *testing.T) {
	t.Parallel()
	for _, tuning := range []string{"full", "lora"} {
		for _, stage := range []int{2, 3} {
			t.Run(fmt.Sprint(tuning, stage), func(t *testing.T) { shardedMemory(t, tuning, stage) })
		}
	}
}

// shardedMemory is TestShardedMemory for one kind of run.
func shardedMemory(t *testing.T, tuning string, stage int) {
	dir := t.TempDir()
	wideModel(t, filepath.Join(dir, "model"))
	var rows []map[string]string
	for i := range 32 {
		rows = append(rows, map[string]string{"instruction": fmt.Sprint("Add 1 and ", i), "output": fmt.Sprint(i + 1)})
	}
	raw, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"pool.json": string(raw), "dataset_info.json": `{"pool": {"file_name": "pool.json"}}`,
		"run.yaml": fmt.Sprintf(`{model_name_or_path: %[1]s/model, stage: sft, do_train: true, finetuning_type: %[2]s, dataset_dir: %[1]s, dataset: pool, template: chatml,
			cutoff_len: 64, output_dir: %[1]s/out, per_device_train_batch_size: 2, gradient_accumulation_steps: 2, max_steps: 2}`, dir, tuning),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const processes = 4
	devs := make([]driver.Device, processes)
	for r := range devs {
		devs[r] = cpu.New(1)
		defer devs[r].Close()
	}
	var parts, weights [processes]float64
	var all sync.WaitGroup
	for rank, c := range driverlanes.Job(processes, devs...) {
		all.Go(func() {
			defer c.Close()
			ctx, job := ranks.New(t.Context(), c, time.Minute)
			made := func(dev driver.Device) (*session, error) {
				cfg, err := config.Load(filepath.Join(dir, "run.yaml"), []string{fmt.Sprintf("deepspeed={zero_optimization: {stage: %d}}", stage), fmt.Sprint("ranks=", processes)})
				if err != nil {
					return nil, err
				}
				return setUp(ctx, cfg, dev, dev, slog.New(slog.DiscardHandler), func() (*ranks.Job, error) { return job, nil })
			}
			planned, err := made(plan.New(devs[rank]))
			if err != nil {
				t.Error(err)
				return
			}
			defer planned.Close()
			s, err := made(devs[rank])
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.model.Reserve(s.forecast.budget); err != nil {
				t.Error(err)
			}
			for range 2 {
				if _, err := s.loop.advance(ctx); err != nil {
					t.Error(err)
				}
			}
			said := float64(planned.forecast.memory() - planned.forecast.budget.Head) // which is the host's own
			if took := float64(devs[rank].(*cpu.Device).HighWater()); took < 0.95*said || took > 1.05*said {
				t.Errorf("rank %d took %v bytes, planned were %v", rank, took, said)
			}
			parts[rank] = float64(s.loop.lanes.sharded.memory[1].Size())
			if all, window := s.model.ShardedBytes(); stage == 3 {
				weights[rank] = float64(all - window)
				if most := 2 * 4 * 172288; window > uint64(most*101/100) { // of a layer
					t.Errorf("rank %d: the weights of a layer at a time take %d bytes, want at most %d", rank, window, most)
				}
			}
			// The largest unit is the embeddings and the first layer, or the last layer and the head.
			if window, most := s.loop.lanes.sharded.memory[0].Size(), 4*(65536+172288+128); window > most {
				t.Errorf("rank %d: gradients on the way take %d bytes, want at most %d", rank, window, most)
			}
		})
	}
	all.Wait()
	const whole = 4 * (2*65536 + 6*172288 + 128)
	for rank, n := range weights {
		if stage == 3 && (n < 0.9*whole/processes || n > 1.1*whole/processes) {
			t.Errorf("rank %d has weights of %v bytes, want %v", rank, n, whole/processes)
		}
	}
	for rank, n := range parts {
		if tuning != "full" {
			break
		}
		if n < 0.9*whole/processes || n > 1.1*whole/processes { // whole blocks: a layer has 42 and 9 short ones
			t.Errorf("rank %d has parts of %v bytes, want %v", rank, n, whole/processes)
		}
	}
}

// TestShardedPassFails: a process whose pass fails, or panics, on the way still adds up with the
// others what is left: none waits for it, and all are told.
func TestShardedPassFails(t *testing.T) {
	const sections, size = 4, 2 * evenBlocks * 4096
	for _, fails := range []func() error{func() error { return errors.New("a planted fault") }, func() error { panic("a planted fault") }} {
		devs := []driver.Device{cpu.New(1), cpu.New(1)}
		var all sync.WaitGroup
		for rank, c := range driverlanes.Job(2, devs...) {
			all.Go(func() {
				defer c.Close()
				dev := devs[rank]
				ctx, job := ranks.New(t.Context(), c, time.Minute)
				var params []*tensor.Param
				spans := map[*tensor.Param]decoder.Span{}
				for i := range sections {
					p, err := tensor.New(dev, fmt.Sprint("p", i), size)
					if err == nil {
						err = p.TrainPlaced(dev)
					}
					if err != nil {
						t.Error(err)
						return
					}
					params, spans[p] = append(params, p), decoder.Span{First: i, Last: i}
				}
				l := &lanes{job: job, per: 1, params: params, device: dev}
				l.sharded = newSharedGradients(dev, params, spans, sections, 2)
				cfg := &config.Config{}
				cfg.Training.Sharding.Stage = 2
				if err := l.allocate(cfg, Plan{Ranks: 2}); err != nil {
					t.Error(err)
					return
				}
				defer l.close()
				pass := func(stop int) func(int) error {
					return func(int) error {
						for s := sections - 1; s >= 0; s-- {
							if err := l.sharded.Before(s); err != nil {
								return err
							}
							if s == stop {
								return fails()
							}
							reduce.Fill(dev, float32(1+rank), params[s].Grad)
							if err := l.sharded.After(s); err != nil {
								return err
							}
						}
						return nil
					}
				}
				if err := l.each(ctx, pass(-1)); err != nil {
					t.Error(err)
				}
				for i, p := range l.summed() {
					x, err := driver.Read(dev, p.Grad)
					if err != nil || x[0] != 3 || x[len(x)-1] != 3 {
						t.Errorf("rank %d, part %d: %v to %v, want 1 + 2; %v", rank, i, x[0], x[len(x)-1], err)
					}
				}
				stop := -1
				if rank == 1 {
					stop = 2
				}
				if err := job.Agree(ctx, "the losses", l.each(ctx, pass(stop))); !ranks.Told(err) || !strings.Contains(err.Error(), "a planted fault") {
					t.Errorf("rank %d ended with %v", rank, err)
				}
			})
		}
		all.Wait()
	}
}
