package train

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/driver/plan"
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
	var out *folder
	if !o.DryRun {
		var err2 error
		if out, err2 = takeFolder(c, o.Log); err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, out.release()) }()
	}
	if !c.Training.DoTrain {
		return evaluateOnly(ctx, c, dev, o)
	}
	device := dev
	if o.DryRun && !c.Tuning.PiSSAInit { // PiSSA decomposes the weights, which there must be
		device = plan.New(dev)
	}
	t, err := setUp(ctx, c, device, dev, o.Log)
	if err != nil {
		return err
	}
	defer t.Close()
	t.folder, t.progress, t.requests.signals = out, o.Progress, o.SaveNow
	if o.DryRun {
		t.forecast.sayLosses(t.log)
		return errors.Join(t.forecast.write(o.Out), t.forecast.fits())
	}
	if err := t.forecast.fits(); err != nil {
		return err
	}
	t.forecast.say(t.log)
	if err := t.begin(o.Restart); err != nil {
		if errors.Is(err, errFinished) {
			return nil
		}
		return err
	}
	if err := t.model.Reserve(t.forecast.budget); err != nil {
		return err
	}
	t.forecast.sayTime(t.log, t.loop.step)
	if err := t.Train(ctx); err != nil {
		return err
	}
	if err := t.loop.curriculum.Finish(); err != nil {
		return err
	}
	return t.stopped(ctx, t.Finish(ctx))
}
