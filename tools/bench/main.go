// Command bench measures the speed bars of the main job on a random model of the
// shape of SmolLM2-135M: a LoRA training step, and a LESS pass with each
// projection. With --python and --peer it times the same work in PyTorch, PEFT
// and upstream's way of LESS, in turn with ours, and prints the ratios: on a
// shared machine only ratios of one run mean anything.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/tools/randommodel"
)

// options are the flags.
type options struct {
	dir, python, peer       string
	rank, batch, seq, steps int
	samples, proj, rounds   int
	repetitions             int
}

func main() {
	var o options
	pflag.StringVar(&o.dir, "dir", "saves/bench", "where the random model is written")
	pflag.StringVar(&o.python, "python", "", "a Python with torch, transformers and peft; empty = ours alone")
	pflag.StringVar(&o.peer, "peer", "../shared/golden/peer", "the folder of step.py and less.py")
	pflag.IntVar(&o.rank, "rank", 16, "LoRA rank")
	pflag.IntVar(&o.batch, "batch", 4, "rows of a training step")
	pflag.IntVar(&o.seq, "seq", 128, "tokens of a row")
	pflag.IntVar(&o.steps, "steps", 5, "training steps timed")
	pflag.IntVar(&o.samples, "samples", 8, "rows of the LESS pass")
	pflag.IntVar(&o.rounds, "rounds", 3, "LESS passes of each kind, in turn; medians count")
	pflag.IntVar(&o.proj, "proj", 4096, "dimensions of the projection")
	pflag.IntVar(&o.repetitions, "repetitions", 1, "how often ours and theirs are timed in turn; medians are printed")
	pflag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// figures are the seconds of one repetition.
type figures struct {
	step                       float64 // of a training step
	gradient, rademacher, sjlt pass    // of a row
	upstreamAll                float64 // likewise, gradients and projection
}

func run(o options) error {
	model := filepath.Join(o.dir, "smollm2-135m-random")
	if _, err := os.Stat(filepath.Join(model, "model.safetensors")); err != nil {
		if err := randommodel.Write(model, randommodel.SmolLM2, 1); err != nil {
			return err
		}
	}
	dev := cpu.New(0)
	defer dev.Close()
	var ours, theirs []figures
	for range o.repetitions {
		f, err := measure(dev, model, o)
		if err != nil {
			return err
		}
		ours = append(ours, f)
		runtime.GC()
		if o.python == "" {
			continue
		}
		if f, err = measurePeer(model, o); err != nil {
			return err
		}
		theirs = append(theirs, f)
	}
	print(o, ours, theirs)
	return nil
}

// measurePeer runs the PyTorch scripts once.
func measurePeer(model string, o options) (figures, error) {
	step := struct {
		Seconds float64 `json:"seconds"`
	}{}
	less := struct {
		Gradient float64 `json:"gradient_seconds_per_sample"`
		Whole    float64 `json:"whole_pass_samples_per_second"`
	}{}
	n := strconv.Itoa
	if err := peer(&step, o, "step.py", model, "--rank", n(o.rank), "--batch", n(o.batch), "--seq", n(o.seq), "--steps", n(o.steps)); err != nil {
		return figures{}, err
	}
	if err := peer(&less, o, "less.py", model, "--rank", n(o.rank), "--seq", n(o.seq), "--samples", n(o.samples), "--proj", n(o.proj)); err != nil {
		return figures{}, err
	}
	return figures{step: step.Seconds, gradient: pass{wall: less.Gradient}, upstreamAll: 1 / less.Whole}, nil
}

func peer(dst any, o options, script string, args ...string) error {
	out, err := exec.Command(o.python, append([]string{filepath.Join(o.peer, script)}, args...)...).Output()
	if err != nil {
		return fmt.Errorf("%s: %w", script, err)
	}
	return json.Unmarshal(out, dst)
}

func print(o options, ours, theirs []figures) {
	fmt.Printf("SmolLM2-135M shape, LoRA r=%d on all linears, %d threads, float32, %s; medians of %d in turn, %s\n\n",
		o.rank, runtime.GOMAXPROCS(0), cpuName(), o.repetitions, time.Now().Format(time.DateOnly))
	fmt.Println("| what | ours | PyTorch + PEFT / upstream | ratio | bar |")
	fmt.Println("|---|---|---|---|---|")
	tokens := float64(o.batch * o.seq)
	row := func(what, unit string, work float64, our, their func(figures) float64, bar string) {
		a := work / median(ours, our)
		if len(theirs) == 0 {
			fmt.Printf("| %s | %.4g %s | – | – | %s |\n", what, a, unit, bar)
			return
		}
		b := work / median(theirs, their)
		fmt.Printf("| %s | %.4g %s | %.4g %s | %.2f | %s |\n", what, a, unit, b, unit, a/b, bar)
	}
	step := func(f figures) float64 { return f.step }
	gradient := func(f figures) float64 { return f.gradient.wall }
	whole := func(f figures) float64 { return f.upstreamAll }
	row(fmt.Sprintf("training step, %d x %d tokens", o.batch, o.seq), "tokens/s", tokens, step, step, "1.2, goal 2")
	row("LESS gradients alone", "rows/s", 1, gradient, gradient, "1.5")
	row(fmt.Sprintf("LESS pass, rademacher to %d", o.proj), "rows/s", 1, func(f figures) float64 { return f.rademacher.wall }, whole, "40")
	row(fmt.Sprintf("LESS pass, sjlt to %d", o.proj), "rows/s", 1, func(f figures) float64 { return f.sjlt.wall }, whole, "–")
	cpu := func(p func(figures) pass) float64 { return median(ours, func(f figures) float64 { return p(f).cpu }) }
	fmt.Printf("\nsjlt pass / gradients alone: %.2f on the clock, %.2f of processor time (bar 1.25)\n",
		median(ours, func(f figures) float64 { return f.sjlt.wall })/median(ours, gradient),
		cpu(func(f figures) pass { return f.sjlt })/cpu(func(f figures) pass { return f.gradient }))
}

func median[T any](x []T, of func(T) float64) float64 {
	v := make([]float64, len(x))
	for i := range x {
		v[i] = of(x[i])
	}
	slices.Sort(v)
	return v[len(v)/2]
}
