package report

import (
	"fmt"
	"math"
	"path/filepath"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// State is trainer_state.json: the state of a run that Hugging Face's Trainer saves.
type State struct {
	GlobalStep, MaxSteps    int
	LoggingSteps, EvalSteps int
	SaveSteps               int
	Epoch, NumTrainEpochs   float64 // epochs are rounded up when written, as Hugging Face does
	TrainBatchSize          int
	TotalFlos               float64
	InputTokensSeen         int

	BestMetric, BestStep, BestCheckpoint any             // nil where there was no evaluation
	History                              []pyjson.Object // log_history
}

// Write writes the state into a folder, indented and sorted as Hugging Face does.
func (s *State) Write(dir string, stopping bool) error {
	history := make([]pyjson.Object, len(s.History))
	for i, h := range s.History {
		history[i] = h.Sorted()
	}
	control := pyjson.Object{
		{Key: "args", Value: pyjson.Object{{Key: "should_epoch_stop", Value: false}, {Key: "should_evaluate", Value: false}, {Key: "should_log", Value: false}, {Key: "should_save", Value: true}, {Key: "should_training_stop", Value: stopping}}},
		{Key: "attributes", Value: pyjson.Object{}},
	}
	o := pyjson.Object{
		{Key: "best_global_step", Value: s.BestStep},
		{Key: "best_metric", Value: s.BestMetric},
		{Key: "best_model_checkpoint", Value: s.BestCheckpoint},
		{Key: "epoch", Value: s.Epoch},
		{Key: "eval_steps", Value: s.EvalSteps},
		{Key: "global_step", Value: s.GlobalStep},
		{Key: "is_hyper_param_search", Value: false},
		{Key: "is_local_process_zero", Value: true},
		{Key: "is_world_process_zero", Value: true},
		{Key: "log_history", Value: history},
		{Key: "logging_steps", Value: s.LoggingSteps},
		{Key: "max_steps", Value: s.MaxSteps},
		{Key: "num_input_tokens_seen", Value: s.InputTokensSeen},
		{Key: "num_train_epochs", Value: int(math.Ceil(s.NumTrainEpochs))},
		{Key: "save_steps", Value: s.SaveSteps},
		{Key: "stateful_callbacks", Value: pyjson.Object{{Key: "TrainerControl", Value: control}}},
		{Key: "total_flos", Value: s.TotalFlos},
		{Key: "train_batch_size", Value: s.TrainBatchSize},
		{Key: "trial_name", Value: nil},
		{Key: "trial_params", Value: nil},
	}
	return storage.WriteFile(filepath.Join(dir, storage.TrainerStateFile), []byte(pyjson.EncodeASCII(o, 2)+"\n"))
}

// ReadHistory reads log_history, for a resumed run.
func ReadHistory(dir string) ([]pyjson.Object, error) {
	path := filepath.Join(dir, storage.TrainerStateFile)
	raw, err := storage.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("trainer state: %w", err)
	}
	state, err := pyjson.DecodeObject(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	entries, ok := state.Get("log_history").([]any)
	if !ok {
		return nil, fmt.Errorf("%s: no log_history", path)
	}
	out := make([]pyjson.Object, len(entries))
	for i, e := range entries {
		if out[i], ok = e.(pyjson.Object); !ok {
			return nil, fmt.Errorf("%s: entry %d of log_history is not an object", path, i)
		}
	}
	return out, nil
}
