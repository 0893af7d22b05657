package train_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/lanes"
)

// counted counts the bytes of a rank's messages in GatherBytes, by what they say they are.
type counted struct {
	driver.Collective
	said map[string]int
}

func (c *counted) GatherBytes(ctx context.Context, data []byte) ([][]byte, error) {
	n, k := binary.Uvarint(data[1:]) // after the flags comes what the call is for
	begin := 1 + k
	what := string(data[begin : begin+int(n)])
	c.said[what] += len(data) - begin - int(n)
	return c.Collective.GatherBytes(ctx, data)
}

// traffic trains on that many processes and returns what rank 0 sent.
func (f *fixture) traffic(processes int, overrides ...string) *counted {
	f.t.Helper()
	var rank0 *counted
	for rank, err := range f.together(processes, func(r int, _ *config.Config, o *train.Options) context.Context {
		if join := o.Join; r == 0 {
			o.Join = func(ctx context.Context, dev driver.Device) (driver.Collective, error) {
				c, err := join(ctx, dev)
				rank0 = &counted{c, map[string]int{}}
				return rank0, err
			}
		}
		return nil
	}, overrides...) {
		if err != nil {
			f.t.Fatalf("rank %d of %d: %v", rank, processes, err)
		}
	}
	return rank0
}

// TestTraffic counts what a rank sends in a run. A step's gradients and weights, of N numbers,
// are 2·(W−1)/W·4N bytes at stages 0, 1 and 2, plus parts of unequal sizes; its losses are 4
// bytes a token and 8 a micro-batch. A selection of LESS sends the evaluation rows' features and
// 12 bytes a row of the pool, and where the optimizer's state is sharded its moments. From these sizes follows the table in
// data/examples/cluster/README.md.
func TestTraffic(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const numbers, steps, w = 20736, 4, 2 // LoRA of rank 4 on the demo's model
	losses := map[int]int{}
	for _, n := range []int{0, 2} {
		f.clear()
		out := filepath.Join(f.dir, fmt.Sprint("stage", n))
		c := f.traffic(w, "max_steps=4", "train_type=dynamic_select", "component_name=less", "output_dir="+out, "save_strategy=no", stage(n))
		for _, kind := range []driver.CallKind{driver.AllToAll, driver.AllGather} {
			least := int64(steps * 4 * numbers * (w - 1) / w)
			most := least
			if n > 0 {
				most = least * 11 / 10 // whole blocks
			}
			if n > 0 && kind == driver.AllGather { // moments, twice, tensor by tensor: a small one has one owner
				least, most = least+2*2*4*numbers*(w-1)/w, most+2*2*4*numbers*(w-1)
			}
			if s := c.Collective.(*lanes.Rank).Sent()[kind]; s.Bytes < least || s.Bytes > most || n == 0 && s.Calls != steps {
				t.Errorf("stage %d, %v: %+v, want %d to %d bytes", n, kind, s, least, most)
			}
		}
		const evalRows, poolRows, features = 4, 48, 256
		if got, want := c.said["gradients of rows"], 4+evalRows*(8+4*features)+4+poolRows*(8+4); got != want {
			t.Errorf("stage %d: a selection sends %d bytes, want %d", n, got, want)
		}
		losses[n] = c.said["the losses of the step"]
		// A step of a rank has two micro-batches of two rows of up to 64 tokens.
		if least, most := steps*(8+2*8+4*2*2), steps*(8+2*8+4*2*2*64); losses[n] <= least || losses[n] > most || losses[n]%4 != 0 {
			t.Errorf("stage %d: the losses of %d steps are %d bytes, want %d to %d", n, steps, losses[n], least, most)
		}
	}
	if losses[0] != losses[2] {
		t.Errorf("losses take %d bytes at stage 0 and %d at stage 2", losses[0], losses[2])
	}
	raw, err := os.ReadFile("../../data/examples/cluster/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := onPaper(); !strings.Contains(string(raw), table) {
		t.Errorf("data/examples/cluster/README.md does not have this table:\n%s", table)
	}
}

// onPaper is the traffic of real runs. Rates are those that large messages reach of NVLink's 450
// GB/s and InfiniBand's 50 GB/s for each GPU, of which eight are in a node: assumptions, none is
// measured.
func onPaper() string {
	const (
		node           = 8
		inside, beside = 0.8 * 450e9, 0.9 * 50e9 // bytes/s
		lora, full     = 41.94e6, 8.03e9         // numbers that train: rank 16 on Llama-3-8B, all of it
		tokens         = 8192                    // of a GPU in a step
		pool, eval     = 10e6, 1000.0            // rows
		features       = 8192
	)
	// seconds in which a GPU of w receives n bytes, of which it had 1/w.
	seconds := func(n float64, w int) float64 {
		g := float64(min(w, node))
		t := (g - 1) / g * n / inside
		if nodes := float64(w) / node; nodes > 1 {
			t += (nodes - 1) / nodes * n / node / beside
		}
		return t
	}
	size := func(bytes float64) string {
		for _, u := range []string{"kB", "MB"} {
			if bytes /= 1000; bytes < 1000 {
				return fmt.Sprintf("%.3g %s", bytes, u)
			}
		}
		return fmt.Sprintf("%.3g GB", bytes/1000)
	}
	out := "| what a GPU sends | 8 GPUs | 64 | 1,024 |\n|---|---|---|---|\n"
	for _, row := range []struct {
		what  string
		bytes func(w float64) float64 // that the GPUs of w have together at the end
		times float64                 // so often
	}{
		{"a step of LoRA, 41.9 M numbers: gradients and weights", func(float64) float64 { return 4 * lora }, 2},
		{"a step of all 8 B weights, stages 0 to 2", func(float64) float64 { return 4 * full }, 2},
		{"the losses of a step of 8,192 tokens a GPU", func(w float64) float64 { return 4 * tokens * w }, 1},
		{"a selection of LESS: the features of 1,000 evaluation rows, 8,192 of each", func(float64) float64 { return (8 + 4*features) * eval }, 1},
		{"… the scores of 10 M rows", func(float64) float64 { return (8 + 4) * pool }, 1},
	} {
		out += "| " + row.what
		for _, w := range []int{8, 64, 1024} {
			n := row.bytes(float64(w))
			sent := row.times * n * float64(w-1) / float64(w)
			out += fmt.Sprintf(" | %s, %.3g ms", size(sent), 1000*row.times*seconds(n, w))
		}
		out += " |\n"
	}
	return out
}
