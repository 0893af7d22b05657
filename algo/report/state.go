package report

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
)

// State is trainer_state.json: what Hugging Face's Trainer keeps of a run.
type State struct {
	GlobalStep, MaxSteps    int
	LoggingSteps, EvalSteps int
	SaveSteps               int
	Epoch, NumTrainEpochs   float64 // the epochs are written rounded up, as Hugging Face counts them
	TrainBatchSize          int
	TotalFlos               float64
	InputTokensSeen         int

	BestMetric, BestStep, BestCheckpoint any      // nil where nothing was judged
	History                              []Object // log_history
}

// Write puts the state into a folder, indented and sorted as Hugging Face does.
func (s *State) Write(dir string, stopping bool) error {
	history := make([]Object, len(s.History))
	for i, h := range s.History {
		history[i] = h.Sorted()
	}
	control := Object{
		{"args", Object{{"should_epoch_stop", false}, {"should_evaluate", false}, {"should_log", false}, {"should_save", true}, {"should_training_stop", stopping}}},
		{"attributes", Object{}},
	}
	o := Object{
		{"best_global_step", s.BestStep},
		{"best_metric", s.BestMetric},
		{"best_model_checkpoint", s.BestCheckpoint},
		{"epoch", s.Epoch},
		{"eval_steps", s.EvalSteps},
		{"global_step", s.GlobalStep},
		{"is_hyper_param_search", false},
		{"is_local_process_zero", true},
		{"is_world_process_zero", true},
		{"log_history", history},
		{"logging_steps", s.LoggingSteps},
		{"max_steps", s.MaxSteps},
		{"num_input_tokens_seen", s.InputTokensSeen},
		{"num_train_epochs", int(math.Ceil(s.NumTrainEpochs))},
		{"save_steps", s.SaveSteps},
		{"stateful_callbacks", Object{{"TrainerControl", control}}},
		{"total_flos", s.TotalFlos},
		{"train_batch_size", s.TrainBatchSize},
		{"trial_name", nil},
		{"trial_params", nil},
	}
	return storage.WriteFile(filepath.Join(dir, storage.TrainerStateFile), []byte(EncodeASCII(o, 2)+"\n"))
}

// ReadHistory reads log_history back, for a run that goes on.
func ReadHistory(dir string) ([]Object, error) {
	path := filepath.Join(dir, storage.TrainerStateFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("trainer state: %w", err)
	}
	state, err := decodeObject(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	entries, ok := state.Get("log_history").([]any)
	if !ok {
		return nil, fmt.Errorf("%s: no log_history", path)
	}
	out := make([]Object, len(entries))
	for i, e := range entries {
		if out[i], ok = e.(Object); !ok {
			return nil, fmt.Errorf("%s: entry %d of log_history is no object", path, i)
		}
	}
	return out, nil
}
