package command

import (
	"fmt"
	"io"
	"math"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bar shows the run's progress under the log lines of a terminal.
type bar struct {
	container *mpb.Progress
	bar       *mpb.Bar
	loss      atomic.Uint64 // bits of the newest step's loss
}

func newBar(w io.Writer) *bar {
	return &bar{container: mpb.New(mpb.WithOutput(w), mpb.WithWidth(48))}
}

// lines is where log lines go while the bar is shown.
func (b *bar) lines() io.Writer { return b.container }

// Step moves the bar to done of total optimizer steps.
func (b *bar) Step(done, total int, loss float64) {
	b.loss.Store(math.Float64bits(loss))
	if b.bar == nil {
		b.bar = b.container.AddBar(int64(total),
			mpb.PrependDecorators(decor.CountersNoUnit("step %d/%d ")),
			mpb.AppendDecorators(
				decor.Any(func(decor.Statistics) string { return fmt.Sprintf(" loss %.4f ", math.Float64frombits(b.loss.Load())) }),
				decor.AverageETA(decor.ET_STYLE_GO)))
	}
	b.bar.SetCurrent(int64(done))
}

// Close takes the bar away.
func (b *bar) Close() {
	if b.bar != nil {
		b.bar.Abort(false)
	}
	b.container.Wait()
}
