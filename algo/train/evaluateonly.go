package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/predict"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/tuning"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
)

// evaluateOnly is a run with do_train: false: the model, with the adapters that are named,
// is evaluated and answers prompts, and the results are written to output_dir.
func evaluateOnly(ctx context.Context, c *config.Config, dev driver.Device, o Options) error {
	if err := supported(c); err != nil {
		return err
	}
	var tok *tokenizer.Tokenizer
	var tmpl *template.Template
	var sets []EvalSet
	if c.Training.DoEval {
		d, err := LoadData(ctx, c, o.Log)
		if err != nil {
			return err
		}
		defer closeData(d, o.Log)
		tok, tmpl, sets = d.Tokenizer, d.options.Template, d.Eval
	} else {
		var err error
		if tok, tmpl, err = readTokenizer(c, o.Log); err != nil {
			return err
		}
	}
	model, err := tuning.Model(c, dev, tok, nil, o.Log)
	if err != nil {
		return err
	}
	defer model.Close()
	o.Log.Info("do_train is false: the model is used and not trained", "evaluation sets", len(sets), "do_predict", c.Training.DoPredict)
	if o.DryRun {
		return nil
	}
	if c.Training.DoEval {
		if err := writeEvaluation(ctx, &evaluator{config: c, model: model, log: o.Log, sets: sets, groups: newLengthGroups(c, Plan{}, &Data{Eval: sets})}); err != nil {
			return err
		}
	}
	p := predict.Predictor{Config: c, Model: model, Tokenizer: tok, Template: tmpl, Log: o.Log}
	return p.Predict(ctx)
}

// writeEvaluation evaluates, and writes the result to output_dir.
func writeEvaluation(ctx context.Context, v *evaluator) error {
	sets, err := v.evaluate(ctx, 0)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("an interrupted evaluation writes nothing: %w", ErrInterrupted)
	}
	if err != nil {
		return err
	}
	metrics := sets.fields()
	for _, f := range metrics {
		v.log.Info("evaluation", f.Key, f.Value)
	}
	c := v.config
	if err := storage.MkdirAll(c.Training.OutputDir); err != nil {
		return c.Errorf("output_dir", "%w", err)
	}
	return report.WriteResults(c.Training.OutputDir, "eval", metrics)
}

// closeData frees the memory of the rows.
func closeData(d *Data, log *slog.Logger) {
	if err := d.Close(); err != nil {
		log.Warn("the data's memory could not be freed", "error", err)
	}
}
