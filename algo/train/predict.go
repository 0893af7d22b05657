package train

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/algo/predict"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/generate"
)

// predict answers the evaluation rows and leaves LLaMA-Factory's
// generated_predictions.jsonl and predict_results.json in output_dir.
func (t *session) predict(ctx context.Context) error {
	c := t.Config
	if !c.Training.DoPredict {
		return nil
	}
	started := time.Now()
	rows, warnings, err := predict.Rows(ctx, c, predict.Templated(t.tokenizer, t.template, c.Data.CutoffLen))
	if err != nil {
		return err
	}
	for _, w := range warnings {
		t.log.Warn(w)
	}
	t.log.Info("predicting", "rows", len(rows), "max_new_tokens", c.Generating.MaxNewTokens)
	answers, err := t.answers(ctx, rows)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("nothing is written of predictions that were cut short: %w", err)
	}
	if err != nil {
		return fmt.Errorf("do_predict: %w", err)
	}
	out := c.Training.OutputDir
	if err := storage.MkdirAll(out); err != nil {
		return c.Errorf("output_dir", "%w", err)
	}
	path := filepath.Join(out, "generated_predictions.jsonl")
	if err := storage.WriteFile(path, predict.Lines(answers)); err != nil {
		return err
	}
	metrics := predict.Measure(answers, "predict_")
	for _, f := range metrics {
		t.log.Info("prediction", f.Key, f.Value)
	}
	t.log.Info("predictions written", "path", path)
	seconds := max(time.Since(started).Seconds(), 1e-9)
	return report.WriteResults(out, "predict", append(metrics,
		pyjson.Field{Key: "predict_runtime", Value: report.Round(seconds, 4)},
		pyjson.Field{Key: "predict_samples_per_second", Value: report.Round(float64(len(rows))/seconds, 3)}))
}

// answers are the model's to rows.
func (t *session) answers(ctx context.Context, rows []predict.Row) ([]predict.Answer, error) {
	c := t.Config
	prompts := make([][]int32, len(rows))
	for i, r := range rows {
		prompts[i] = r.Prompt
	}
	multiple := 1 // of a padded prompt's length, as upstream's collator has it
	if c.Training.DoTrain {
		multiple = 8
	}
	o := predict.Options(c, predict.Stop(t.tokenizer, t.template))
	o.Batch = c.Training.PerDeviceEvalBatchSize
	o.Penalised = predict.Padding(rows, o.Batch, multiple, t.tokenizer)
	done := 0
	o.Done = func(int, []int32) {
		if done++; done%100 == 0 {
			t.log.Info("predicting", "done", done, "of", len(rows))
		}
	}
	continuations, err := generate.Generate(ctx, t.model, prompts, o)
	if err != nil {
		return nil, err
	}
	answers := make([]predict.Answer, len(rows))
	for i, r := range rows {
		answers[i] = predict.NewAnswer(t.tokenizer, r, continuations[i], c.Generating.SkipSpecialTokens)
	}
	return answers, nil
}
