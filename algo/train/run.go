package train

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"dataflex.dev/dataflex/algo/config"
)

// Options is what a command adds to a configuration.
type Options struct {
	Device   string // --device; "" = the configuration's use_cpu, or auto
	DryRun   bool   // print the plan and stop
	Restart  bool   // begin anew, whatever output_dir holds
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
	if !o.DryRun {
		lock, err2 := takeFolder(c, o)
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, lock.Release()) }()
	}
	if !c.Training.DoTrain {
		return evaluateOnly(ctx, c, dev, o)
	}
	t, err := setUp(ctx, c, dev, o.Log)
	if err != nil {
		return err
	}
	defer t.Close()
	t.progress, t.saveNow = o.Progress, o.SaveNow
	if err := t.fits(); err != nil {
		return err
	}
	if o.DryRun {
		t.logLosses()
		return t.WritePlan(o.Out)
	}
	t.logPlan()
	if err := t.begin(o.Restart); err != nil {
		if errors.Is(err, errFinished) {
			return nil
		}
		return err
	}
	if err := t.model.Reserve(t.Budget); err != nil {
		return err
	}
	if err := t.Train(ctx); err != nil {
		return err
	}
	if err := t.curriculum.Finish(); err != nil {
		return err
	}
	return t.stopped(ctx, t.Finish(ctx))
}

// begin settles what becomes of what is in output_dir, goes on from a checkpoint or
// starts at step 0, and says in the folder which run it is of.
func (t *session) begin(restart bool) error {
	from, err := t.place(restart)
	if err != nil {
		return err
	}
	if from != "" {
		t.log.Info("resuming", "checkpoint", from)
		err = t.resume(from)
	} else {
		err = t.openRecords(true)
	}
	return errors.Join(err, t.writeRecord())
}

// Close gives back the memory of the model and of the rows.
func (t *session) Close() {
	if err := t.journal.trackers.Close(t.journal.done); err != nil {
		t.log.Warn("report_to", "error", err)
	}
	if t.model != nil {
		t.model.Close()
	}
	if t.data == nil {
		return
	}
	if err := t.data.Close(); err != nil {
		t.log.Warn("the data's memory was not given back", "error", err)
	}
}
