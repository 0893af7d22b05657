package train

import (
	"context"
	"io"
	"log/slog"
	"os"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// Options is what a command adds to a configuration.
type Options struct {
	Device   string // --device; "" = the configuration's use_cpu, or auto
	DryRun   bool   // print the plan and stop
	Out      io.Writer
	Log      *slog.Logger
	Progress Progress         // nil = none
	SaveNow  <-chan os.Signal // a value asks for a checkpoint between two steps; nil = never
}

// Run trains what c describes: set-up, training, and what a finished run leaves.
func Run(ctx context.Context, c *config.Config, o Options) (err error) {
	dev, err := openDevice(c, o)
	if err != nil {
		return err
	}
	defer CloseDevice(dev, &err)
	for _, n := range c.Notices() {
		o.Log.Info(n)
	}
	if o.Progress != nil {
		defer o.Progress.Close()
	}
	if !c.Training.DoTrain {
		return evaluateOnly(ctx, c, dev, o)
	}
	resume, err := outputDir(c, o)
	if err != nil {
		return err
	}
	t, err := Setup(ctx, c, dev, o.Log)
	if err != nil {
		return err
	}
	defer t.Close()
	t.progress, t.saveNow = o.Progress, o.SaveNow
	if err := t.fits(); err != nil {
		return err
	}
	if o.DryRun {
		return t.WritePlan(o.Out)
	}
	t.logPlan()
	if resume != "" {
		o.Log.Info("resuming", "checkpoint", resume)
		if err := t.resume(resume); err != nil {
			return err
		}
	} else if err := t.openRecords(c.Training.OverwriteOutputDir); err != nil {
		return err
	}
	if t.step >= t.Plan.Total {
		o.Log.Warn("the checkpoint is already at the last step: nothing is trained", "step", t.step, "total", t.Plan.Total)
	}
	if f, ok := t.method().(algo.Finisher); ok {
		f.OutputDir(c.Training.OutputDir)
	}
	if err := t.Train(ctx); err != nil {
		return err
	}
	if f, ok := t.method().(algo.Finisher); ok {
		if err := f.Finish(); err != nil {
			return err
		}
	}
	return t.Finish(ctx)
}

// Close gives back the memory of the model and of the rows.
func (t *Trainer) Close() {
	if t.recorder.events != nil {
		if err := t.recorder.events.Close(); err != nil {
			t.log.Warn("TensorBoard's file", "error", err)
		}
	}
	if t.model != nil {
		t.model.Close()
	}
	if err := t.data.Close(); err != nil {
		t.log.Warn("the data's memory was not given back", "error", err)
	}
}

// outputDir makes the output folder, or says why it cannot be written, and finds
// the checkpoint to go on from; "" starts at step 0.
func outputDir(c *config.Config, o Options) (resume string, err error) {
	out := c.Training.OutputDir
	if !o.DryRun {
		notes, err := storage.CleanStale(out)
		if err != nil {
			return "", c.Errorf("output_dir", "%w", err)
		}
		for _, n := range notes {
			o.Log.Info(n)
		}
	}
	if resume, err = resumeFrom(c, o); err != nil || o.DryRun {
		return resume, err
	}
	if resume == "" && !c.Training.OverwriteOutputDir && finished(out) {
		return "", c.Errorf("output_dir", "%s already holds a trained model and no checkpoint to go on from: set overwrite_output_dir: true or another output_dir", out)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", c.Errorf("output_dir", "%w", err)
	}
	probe, err := os.CreateTemp(out, ".writable-*")
	if err != nil {
		return "", c.Errorf("output_dir", "it cannot be written: %w", err)
	}
	probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return "", c.Errorf("output_dir", "%w", err)
	}
	return resume, nil
}

// resumeFrom applies LLaMA-Factory's rule: an explicit checkpoint; else the newest
// complete one in output_dir, unless it is to be overwritten.
func resumeFrom(c *config.Config, o Options) (string, error) {
	r := c.Training.ResumeFromCheckpoint
	if r.Path != "" {
		return r.Path, nil
	}
	if !r.Latest && (c.Training.OverwriteOutputDir || r.Given) {
		return "", nil
	}
	path, _, skipped, err := checkpoint.Newest(c.Training.OutputDir)
	if err != nil {
		return "", c.Errorf("output_dir", "%w", err)
	}
	for _, s := range skipped {
		o.Log.Warn(s)
	}
	if path == "" && r.Latest {
		o.Log.Warn("resume_from_checkpoint: there is no complete checkpoint: training starts at step 0", "output_dir", c.Training.OutputDir)
	}
	return path, nil
}
