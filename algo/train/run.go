package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/launch"
	"dataflex.dev/dataflex/driver/plan"
)

// Options is what a command adds to a configuration.
type Options struct {
	Device   string // --device; "" = use_cpu of the configuration, or auto
	DryRun   bool   // print the plan and stop
	Restart  bool   // start again, whatever output_dir contains
	Out      io.Writer
	Log      *slog.Logger
	Progress Progress         // nil = none
	SaveNow  <-chan os.Signal // a value requests a checkpoint between two steps; nil = never

	// Place is the place of this process among those that train together; its zero value is
	// alone. Join connects them, when the data have been read; nil if there is only one.
	Place launch.Place
	Join  func(ctx context.Context, dev driver.Device) (driver.Collective, error)
}

// Run trains as c describes: set-up, training, and the files of a finished run.
func Run(ctx context.Context, c *config.Config, o Options) (err error) {
	first := o.Place.Rank == 0
	if !first {
		o.Log = slog.New(slog.DiscardHandler) // rank 0 logs for all
	}
	switch {
	case c.Training.DoTrain:
		if err := cmp.Or(settleRanks(c, o), settleSharding(c, o)); err != nil {
			return &Alike{err}
		}
	case !first:
		return nil // rank 0 makes evaluations without training
	}
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
	if !o.DryRun && first {
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
	if o.DryRun && !c.Tuning.PiSSAInit { // PiSSA decomposes the weights, so they must be read
		device = plan.New(dev)
	}
	var job *ranks.Job
	joining := o.processes() == 1
	defer func() {
		if job == nil {
			return
		}
		if r := recover(); r != nil {
			_ = job.Close(fmt.Errorf("%v", r)) // the panic is passed on, and ends the process
			panic(r)
		}
		err = job.Close(err)
	}()
	t, err := setUp(ctx, c, device, dev, o.Log, func() (_ *ranks.Job, err error) {
		joining = true
		ctx, job, err = o.join(ctx, c, device)
		return job, err
	})
	if err != nil && !joining {
		err = &Alike{err}
	}
	if err != nil {
		return err
	}
	defer t.Close()
	t.folder, t.progress, t.requests.signals = out, o.Progress, o.SaveNow
	if o.DryRun {
		if !first {
			return nil
		}
		t.forecast.sayLosses(t.log)
		return errors.Join(t.forecast.write(o.Out), t.forecast.fits())
	}
	if err := job.Agree(ctx, "the plan", t.forecast.fits()); err != nil {
		return err
	}
	t.forecast.say(t.log)
	if err := t.begin(ctx, o.Restart); err != nil {
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
		return t.told(ctx, err)
	}
	return t.stopped(ctx, t.Finish(ctx))
}
