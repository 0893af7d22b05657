package predict

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/generate"
)

// Predictor generates a model's answers to the evaluation rows, for do_predict.
type Predictor struct {
	Config    *config.Config
	Model     *decoder.Model
	Tokenizer *tokenizer.Tokenizer
	Template  *template.Template
	Log       *slog.Logger
}

// Predict writes LLaMA-Factory's generated_predictions.jsonl and predict_results.json to
// output_dir, if do_predict is set.
func (p *Predictor) Predict(ctx context.Context) error {
	c := p.Config
	if !c.Training.DoPredict {
		return nil
	}
	started := time.Now()
	rows, warnings, err := Rows(ctx, c, Templated(p.Tokenizer, p.Template, c.Data.CutoffLen))
	if err != nil {
		return err
	}
	for _, w := range warnings {
		p.Log.Warn(w)
	}
	p.Log.Info("predicting", "rows", len(rows), "max_new_tokens", c.Generating.MaxNewTokens)
	answers, err := p.answers(ctx, rows)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("prediction was interrupted, and nothing was written: %w", err)
	}
	if err != nil {
		return fmt.Errorf("do_predict: %w", err)
	}
	out := c.Training.OutputDir
	if err := storage.MkdirAll(out); err != nil {
		return c.Errorf("output_dir", "%w", err)
	}
	path := filepath.Join(out, "generated_predictions.jsonl")
	if err := storage.WriteFile(path, Lines(answers)); err != nil {
		return err
	}
	metrics := Measure(answers, "predict_")
	for _, f := range metrics {
		p.Log.Info("prediction", f.Key, f.Value)
	}
	p.Log.Info("predictions written", "path", path)
	seconds := max(time.Since(started).Seconds(), 1e-9)
	return report.WriteResults(out, "predict", append(metrics,
		pyjson.Field{Key: "predict_runtime", Value: report.Round(seconds, 4)},
		pyjson.Field{Key: "predict_samples_per_second", Value: report.Round(float64(len(rows))/seconds, 3)}))
}

// answers generates the model's answers to rows.
func (p *Predictor) answers(ctx context.Context, rows []Row) ([]Answer, error) {
	c := p.Config
	prompts := make([][]int32, len(rows))
	for i, r := range rows {
		prompts[i] = r.Prompt
	}
	multiple := 1 // that the length of padded prompts is rounded up to, as in upstream's collator
	if c.Training.DoTrain {
		multiple = 8
	}
	o := Options(c, Stop(p.Tokenizer, p.Template))
	o.Batch = c.Training.PerDeviceEvalBatchSize
	o.Penalised = Padding(rows, o.Batch, multiple, p.Tokenizer)
	done := 0
	o.Done = func(int, []int32) {
		if done++; done%100 == 0 {
			p.Log.Info("predicting", "done", done, "of", len(rows))
		}
	}
	continuations, err := generate.Generate(ctx, p.Model, prompts, o)
	if err != nil {
		return nil, err
	}
	answers := make([]Answer, len(rows))
	for i, r := range rows {
		answers[i] = NewAnswer(p.Tokenizer, r, continuations[i], c.Generating.SkipSpecialTokens)
	}
	return answers, nil
}
