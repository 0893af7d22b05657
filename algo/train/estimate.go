package train

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/model/decoder"
)

// estimate is how long a run will take, measured on the machine at the moment.
type estimate struct {
	rate       float64 // of matrix products, FLOP/s
	step       float64 // seconds
	selection  float64 // seconds; 0: there are none, or their cost is unknown
	evaluation float64 // seconds
}

// besideProducts is the time of a step as a multiple of the time of its products: on two
// cores 233, 206 and 168 tokens/s were measured where products alone would make 353
// (tools/bench).
const besideProducts = 1.7

// estimate measures the machine, for a fifth of a second at most, and computes the times of
// the run's work from that; ok is false for a device that is not measured.
func (f *forecast) estimate() (e estimate, ok bool) {
	if f.machine.Kind() != driver.CPU || len(f.rows) == 0 {
		return e, false
	}
	e.rate = productRate(f.machine, f.model.Config())
	pool, tokens := f.work(f.rows)
	e.step = e.seconds(pool.Forward+pool.Backward) / float64(len(f.rows)) * float64(f.plan.Batch()) / float64(f.processes)
	rows := flatten(f.sets)
	eval, _ := f.work(rows)
	e.evaluation = e.seconds(eval.Forward)
	if f.costs {
		c := f.cost
		gradient := func(w decoder.Work) float64 { return w.Forward + w.Backward }
		e.selection = e.seconds(c.Forward*pool.Forward + c.Gradient*gradient(pool) + c.EvalForward*eval.Forward + c.EvalGradient*gradient(eval))
		// With one token at a time, every weight is read for one multiplication: as slow as
		// eight.
		perToken := pool.Forward / float64(max(1, tokens))
		e.selection += e.seconds(8 * perToken * float64(c.Generated*len(rows)))
	}
	return e, true
}

func (e estimate) seconds(flop float64) float64 { return besideProducts * flop / e.rate }

// work is the work of a pass over rows, and the number of their tokens.
func (f *forecast) work(rows []data.Example) (w decoder.Work, tokens int) {
	lengths, labelled := make([]int, len(rows)), 0
	for i, ex := range rows {
		lengths[i] = len(ex.InputIDs)
		tokens += len(ex.InputIDs)
		for _, label := range ex.Labels {
			if label >= 0 {
				labelled++
			}
		}
	}
	return f.model.Work(lengths, labelled), tokens
}

// left is how long the run takes from a step on.
func (f *forecast) left(e estimate, step int) float64 {
	seconds := e.step * float64(f.plan.Total-step)
	for s := step; s < f.plan.Total; s++ {
		if o, _ := f.plan.Opening(s); o == curriculum.Choose {
			seconds += e.selection
		}
	}
	return seconds + e.evaluation*float64(f.evaluations(f.plan.Total-step))
}

// evaluations is their number in that many steps up to the end.
func (f *forecast) evaluations(steps int) int {
	c, n := f.config.Training, 0
	if len(f.sets) == 0 {
		return 0
	}
	if c.DoEval {
		n = 1
	}
	switch c.EvalStrategy {
	case config.Steps:
		n += steps / max(1, c.EvalSteps)
	case config.Epoch:
		n += steps / f.plan.StepsPerEpoch()
	}
	return n
}

// sayTime logs how long the run takes from a step on.
func (f *forecast) sayTime(log *slog.Logger, step int) {
	e, ok := f.estimate()
	if !ok {
		return
	}
	values := []any{"time_to_end", span(f.left(e, step)), "step", span(e.step)}
	if e.selection > 0 {
		values = append(values, "selection", span(e.selection), "selection_rows_per_second", round(float64(len(f.rows))/e.selection))
	}
	log.Info("estimate", append(values, "gflops", round(e.rate/1e9))...)
}

// writeTime prints the times of the whole run.
func (f *forecast) writeTime(line func(key, format string, args ...any)) {
	e, ok := f.estimate()
	if !ok {
		line("time", "not estimated on %s", f.machine.Kind())
		return
	}
	line("speed", "%v GFLOP/s in products just now, so about %s a step", round(e.rate/1e9), span(e.step))
	if e.selection > 0 {
		line("selection", "about %s each: %d rows and %d evaluation rows, %v rows/s", span(e.selection), len(f.rows), len(flatten(f.sets)), round(float64(len(f.rows))/e.selection))
	}
	line("time", "about %s from the start to the end", span(f.left(e, 0)))
}

// rates are the measurements of this process: a machine is measured once for each width.
var rates struct {
	sync.Mutex
	of map[rateKey]float64
}

type rateKey struct{ units, k, n int }

// productRate is the FLOP/s of products of the model's widths.
func productRate(dev driver.Device, c decoder.Config) float64 {
	const widest = 2048
	key := rateKey{dev.Attributes().Units, min(c.Hidden, widest), min(max(c.Intermediate, c.Hidden), widest)}
	rates.Lock()
	defer rates.Unlock()
	if rate, ok := rates.of[key]; ok {
		return rate
	}
	rate := measureProducts(dev, key.k, key.n)
	if rates.of == nil {
		rates.of = map[rateKey]float64{}
	}
	rates.of[key] = rate
	return rate
}

// measureProducts multiplies a matrix of k columns by one of k x n for an eighth of a
// second, and returns FLOP/s.
func measureProducts(dev driver.Device, k, n int) float64 {
	const rows, enough = 256, time.Second / 8
	a, b, out := make([]float32, rows*k), make([]float32, n*k), make([]float32, rows*n)
	for i := range a {
		a[i] = 0.5
	}
	for i := range b {
		b[i] = 0.25
	}
	multiply := func() {
		gemm.Run(dev, gemm.NT, 1, gemm.Dense(driver.FromHost(a), rows, k), gemm.Dense(driver.FromHost(b), n, k), 0, gemm.Dense(driver.FromHost(out), rows, n))
	}
	multiply() // wakes the threads and touches the memory
	flop, began := 2*float64(rows)*float64(k)*float64(n), time.Now()
	for times := 1; ; times++ {
		multiply()
		if took := time.Since(began); took > enough {
			return flop * float64(times) / took.Seconds()
		}
	}
}

// round keeps two significant digits.
func round(x float64) float64 {
	v, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 2, 64), 64) // the text was just formatted
	return v
}

// span formats a time as people say it: 40 s, 12 min, 3.5 h, 412 days.
func span(seconds float64) string {
	n, unit := seconds, "s"
	for _, u := range []struct {
		name    string
		seconds float64
	}{{"min", 60}, {"h", 3600}, {"days", 24 * 3600}} {
		if seconds >= 2*u.seconds {
			n, unit = seconds/u.seconds, u.name
		}
	}
	if n >= 99.5 {
		return fmt.Sprintf("%.0f %s", n, unit)
	}
	return fmt.Sprintf("%.2g %s", n, unit)
}
