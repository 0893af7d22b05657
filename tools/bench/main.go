// Command bench measures the speed bars of the main job on a random model of the
// shape of SmolLM2-135M: a LoRA training step, in float32 and, where the processor has a
// unit for it, in bf16, and a LESS pass with each projection. With --python and --peer it
// times the same work in PyTorch, PEFT and upstream's way of LESS, in turn with ours, and
// prints the ratios: on a shared machine only ratios of one run mean anything. Under the
// table stand the steps' shares of the processor's peak and of what it reaches in a tile of a
// product.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/tools/randommodel"
)

// options are the flags.
type options struct {
	dir, python, peer       string
	rank, batch, seq, steps int
	samples, proj, rounds   int
	repetitions             int
	stepsOnly               bool
}

func main() {
	var o options
	pflag.StringVar(&o.dir, "dir", "saves/bench", "where the random model is written")
	pflag.StringVar(&o.python, "python", "", "a Python with torch, transformers and peft; empty = ours alone")
	pflag.StringVar(&o.peer, "peer", "../shared/golden/peer", "the folder of less.py")
	pflag.IntVar(&o.rank, "rank", 16, "LoRA rank")
	pflag.IntVar(&o.batch, "batch", 4, "rows of a training step")
	pflag.IntVar(&o.seq, "seq", 128, "tokens of a row")
	pflag.IntVar(&o.steps, "steps", 5, "training steps timed")
	pflag.IntVar(&o.samples, "samples", 8, "rows of the LESS pass")
	pflag.IntVar(&o.rounds, "rounds", 3, "LESS passes of each kind, in turn; medians count")
	pflag.IntVar(&o.proj, "proj", 4096, "dimensions of the projection")
	pflag.BoolVar(&o.stepsOnly, "steps-only", false, "training steps without LESS passes")
	pflag.IntVar(&o.repetitions, "repetitions", 1, "how often ours and theirs are timed in turn; medians are printed")
	pflag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// figures are the seconds of one repetition.
type figures struct {
	step, half                 float64 // of a training step, and of one in bf16; 0 = no unit for it
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
	f := figures{}
	var err error
	if f.step, err = peerStep(model, o, "float32"); err != nil {
		return f, err
	}
	if simd.Unit() != "" {
		for _, precision := range []string{"bfloat16", "autocast"} { // the better one counts
			seconds, err := peerStep(model, o, precision)
			if err != nil {
				return f, err
			}
			if f.half == 0 || seconds < f.half {
				f.half = seconds
			}
		}
	}
	if o.stepsOnly {
		return f, nil
	}
	less := struct {
		Gradient float64 `json:"gradient_seconds_per_sample"`
		Whole    float64 `json:"whole_pass_samples_per_second"`
	}{}
	n := strconv.Itoa
	if err := peer(&less, o, nil, filepath.Join(o.peer, "less.py"), model, "--rank", n(o.rank), "--seq", n(o.seq), "--samples", n(o.samples), "--proj", n(o.proj)); err != nil {
		return figures{}, err
	}
	f.gradient, f.upstreamAll = pass{wall: less.Gradient}, 1/less.Whole
	return f, nil
}

//go:embed step.py
var stepScript string

// peerStep is the seconds of PyTorch's training step.
func peerStep(model string, o options, precision string) (float64, error) {
	step := struct{ Seconds float64 }{}
	n := strconv.Itoa
	err := peer(&step, o, strings.NewReader(stepScript), "-", model, n(o.rank), n(o.batch), n(o.seq), n(o.steps), precision)
	return step.Seconds, err
}

func peer(dst any, o options, stdin io.Reader, args ...string) error {
	command := exec.Command(o.python, args...)
	command.Stdin = stdin
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("%s %v: %w", o.python, args, err)
	}
	return json.Unmarshal(out, dst)
}

func print(o options, ours, theirs []figures) {
	fmt.Printf("SmolLM2-135M shape, LoRA r=%d on all linears, %d threads, %s; medians of %d in turn, %s\n\n",
		o.rank, runtime.GOMAXPROCS(0), processor(), o.repetitions, time.Now().Format(time.DateOnly))
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
	half := func(f figures) float64 { return f.half }
	row(fmt.Sprintf("training step, %d x %d tokens, float32", o.batch, o.seq), "tokens/s", tokens, step, step, "1.6")
	if ours[0].half > 0 {
		row(fmt.Sprintf("training step, %d x %d tokens, bf16 against the better of torch's bf16 and autocast", o.batch, o.seq), "tokens/s", tokens, half, half, "2, goal 3")
	}
	defer printShares(o, median(ours, step), median(ours, half))
	if o.stepsOnly {
		return
	}
	row("LESS gradients alone", "rows/s", 1, gradient, gradient, "1.5")
	row(fmt.Sprintf("LESS pass, rademacher to %d", o.proj), "rows/s", 1, func(f figures) float64 { return f.rademacher.wall }, whole, "40")
	row(fmt.Sprintf("LESS pass, sjlt to %d", o.proj), "rows/s", 1, func(f figures) float64 { return f.sjlt.wall }, whole, "–")
	cpu := func(p func(figures) pass) float64 { return median(ours, func(f figures) float64 { return p(f).cpu }) }
	fmt.Printf("\nsjlt pass / gradients alone: %.2f on the clock, %.2f of processor time (bar 1.25)\n",
		median(ours, func(f figures) float64 { return f.sjlt.wall })/median(ours, gradient),
		cpu(func(f figures) pass { return f.sjlt })/cpu(func(f figures) pass { return f.gradient }))
}

// printShares says how near the steps are to the processor's peak and to what it reaches in
// a tile of a product, in the operations of the frozen weights: 4 for each weight and token, forward and
// the gradient of the input. The adapters' and attention's come on top.
func printShares(o options, step, half float64) {
	dev := cpu.New(0)
	defer dev.Close()
	s := randommodel.SmolLM2
	weights := s.Vocab*s.Hidden + s.Layers*s.Hidden*(2*s.Heads*s.Head+2*s.KVHeads*s.Head+3*s.Intermediate)
	flops := 4 * float64(weights) * float64(o.batch*o.seq)
	say := func(precision string, seconds, ceiling float64, of string) {
		fmt.Printf("step in %s: %.0f GFLOP/s, %.0f %% of the %.0f %s\n", precision, flops/seconds/1e9, 100*flops/seconds/ceiling, ceiling/1e9, of)
	}
	const tiles = "that tiles reach in the first-level cache"
	fmt.Println()
	if peak := gemm.Peak(dev); peak > 0 {
		say("float32", step, peak, "that multiply-adds reach in registers")
	}
	say("float32", step, gemm.Ceiling(dev, false), tiles)
	if half > 0 {
		say("bf16 ("+simd.Unit()+")", half, gemm.Ceiling(dev, true), tiles)
	}
}

func median[T any](x []T, of func(T) float64) float64 {
	v := make([]float64, len(x))
	for i := range x {
		v[i] = of(x[i])
	}
	slices.Sort(v)
	return v[len(v)/2]
}
