package selector

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/optim"
)

// trained is a checkpoint of an earlier run of this program.
type trained struct {
	dir    string
	step   int
	weight float64
	key    string // of its contents
}

// readHistory reads the folders, in the order of training. Without weights, each has the mean
// learning rate of the steps since the one before it (LESS, section 3.3).
func readHistory(dirs []string, weights []float64) ([]trained, error) {
	var out []trained
	since := 0
	for i, dir := range dirs {
		c := trained{dir: dir}
		var rates []float64
		var err error
		if c.step, rates, err = learningRates(dir); err != nil {
			return nil, err
		}
		switch {
		case weights != nil:
			c.weight = weights[i]
		case c.step <= since:
			return nil, fmt.Errorf("%s was saved at step %d, before the one listed before it: list them in the order of training", dir, c.step)
		default:
			if c.weight, err = meanAfter(rates, since); err != nil {
				return nil, fmt.Errorf("%s: %w", dir, err)
			}
		}
		since = c.step
		if c.key, err = contentKey(dir); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// learningRates reads trainer_state.json: rates[s] is that of step s, 0 where it was not
// logged.
func learningRates(dir string) (step int, rates []float64, err error) {
	path := filepath.Join(dir, storage.TrainerStateFile)
	raw, err := storage.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	var s struct {
		Step    int `json:"global_step"`
		History []struct {
			Step int      `json:"step"`
			Rate *float64 `json:"learning_rate"`
		} `json:"log_history"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", path, err)
	}
	rates = make([]float64, s.Step+1)
	for _, h := range s.History {
		if h.Rate != nil && h.Step >= 0 && h.Step < len(rates) {
			rates[h.Step] = *h.Rate
		}
	}
	return s.Step, rates, nil
}

// meanAfter is the mean of the rates logged for the steps after since.
func meanAfter(rates []float64, since int) (float64, error) {
	var sum float64
	n := 0
	for _, r := range rates[since+1:] {
		if r > 0 {
			sum, n = sum+r, n+1
		}
	}
	if n == 0 {
		return 0, errors.New("its log has no learning rate: set checkpoint_weights")
	}
	return sum / float64(n), nil
}

// contentKey is the hash of a checkpoint's tensors.
func contentKey(dir string) (string, error) {
	files, err := storage.Match(dir, "*.safetensors")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, path := range files {
		f, err := storage.Open(path)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// visit loads the checkpoint's weights into the run's model, calls f with its moments (nil if
// adam, the run's, is), and restores the run's own weights.
func (c *trained) visit(run *algo.Run, adam optim.Adaptive, f func(optim.Adaptive) error) (err error) {
	params := run.Model.Trainable()
	own := make([][]float32, len(params))
	for i, p := range params {
		x, err := p.Read(run.Device)
		if err != nil {
			return err
		}
		own[i] = slices.Clone(x)
	}
	defer func() {
		for i, p := range params {
			err = errors.Join(err, p.Upload(run.Device, own[i]))
		}
	}()
	if err := run.Model.ReadTrained(c.dir); err != nil {
		return err
	}
	if adam == nil {
		return f(nil)
	}
	o, err := c.optimizer(run, adam)
	if err != nil {
		return err
	}
	defer o.Close()
	return f(o)
}

// optimizer has the checkpoint's moments, with the betas of the run's.
func (c *trained) optimizer(run *algo.Run, adam optim.Adaptive) (optim.Adaptive, error) {
	raw, err := storage.ReadFile(filepath.Join(c.dir, storage.StateFile))
	if err != nil {
		return nil, fmt.Errorf("gradient_type: adam needs the optimiser's moments, from a checkpoint that this program saved without save_only_model: %w", err)
	}
	var s struct {
		Steps int `json:"optimizer_steps"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", storage.StateFile, err)
	}
	f, err := checkpoint.OpenFile(filepath.Join(c.dir, storage.OptimizerFile))
	if err != nil {
		return nil, fmt.Errorf("gradient_type: adam needs the optimiser's moments: %w", err)
	}
	defer f.Close()
	b1, b2, eps := adam.Betas()
	o, err := optim.NewAdamW(run.Device, optim.Groups(run.Model.Trainable(), 0), b1, b2, eps)
	if err != nil {
		return nil, err
	}
	if err := o.SetState(s.Steps, f); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}
