// Command acceptance goes through a user's whole workflow with the built programs: download
// from a hub (a server on this machine), init, check, LESS, report, pick, generate, export, a
// GGUF file, and a run that is killed and resumes to the same bits.
//
//	go run ./tools/acceptance                     the demo's model, a minute
//	go run ./tools/acceptance -model DIR          another one, as SmolLM2-135M's folder
//	go run ./tools/acceptance -rows R.jsonl -eval E.jsonl -set learning_rate=1e-5
//
// It stops at the first command that fails or does not write what it should.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/tools/command"
	"dataflex.dev/dataflex/tools/dashes"
)

// options are the flags.
type options struct {
	cli, model, rows, eval, gguf string
	set                          []string // further keys for the training runs
}

func main() { command.Main(run) }

func run(ctx context.Context) error {
	var o options
	pflag.StringVar(&o.cli, "cli", "bin/dataflex-cli", "the program")
	pflag.StringVar(&o.model, "model", "tools/dataflex-demo/model", "the model folder that the hub serves")
	pflag.StringVar(&o.rows, "rows", "data/tasks.jsonl", "the rows to choose among")
	pflag.StringVar(&o.eval, "eval", "data/sums_eval.jsonl", "the evaluation rows")
	pflag.StringVar(&o.gguf, "gguf", "model/gguf/testdata/llama.gguf", "a GGUF model to generate with as well; empty: none")
	pflag.StringArrayVar(&o.set, "set", nil, "a key of the training runs, as in --set learning_rate=1e-5")
	dashes.Parse()
	w, err := newWalk(&o)
	if err != nil {
		return err
	}
	defer os.RemoveAll(w.dir)
	started := time.Now()
	for _, step := range []func(context.Context) error{w.download, w.init, w.train, w.look, w.pick, w.talk, w.export, w.gguf, w.killed} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("the whole workflow: %s\n", time.Since(started).Round(time.Second))
	return nil
}

// walk is one pass through the workflow, in its own folder.
type walk struct {
	options
	dir string
	env []string
}

// name is the model's name on the hub.
const name = "acceptance/model"

func newWalk(o *options) (*walk, error) {
	for _, path := range []*string{&o.cli, &o.model, &o.rows, &o.eval, &o.gguf} {
		if *path == "" {
			continue
		}
		whole, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(whole); err != nil {
			return nil, fmt.Errorf("%w: run it from the top of the repository, after make", err)
		}
		*path = whole
	}
	dir, err := os.MkdirTemp("", "acceptance-")
	if err != nil {
		return nil, err
	}
	w := &walk{options: *o, dir: dir}
	for from, to := range map[string]string{o.rows: "rows.jsonl", o.eval: "wanted.jsonl"} {
		text, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o644); err != nil {
			return nil, err
		}
	}
	w.env = append(os.Environ(), "HF_HOME="+filepath.Join(dir, "hf"), "HF_HUB_CACHE=", "HUGGINGFACE_HUB_CACHE=", "MODELSCOPE_CACHE="+filepath.Join(dir, "ms"),
		"DATAFLEX_CACHE="+filepath.Join(dir, "cache"), "HF_HUB_OFFLINE=", "HF_TOKEN=", "USE_MODELSCOPE_HUB=")
	return w, nil
}

// command prepares one of the program's commands, to be run in the folder.
func (w *walk) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, w.cli, args...)
	c.Dir, c.Env = w.dir, w.env
	return c
}

// do runs a command, which must write the given files, and returns its standard output.
func (w *walk) do(ctx context.Context, args []string, leaves ...string) (string, error) {
	started := time.Now()
	var stdout, stderr bytes.Buffer
	c := w.command(ctx, args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	line := "dataflex-cli " + strings.Join(args, " ")
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", line, err, stdout.String(), stderr.String())
	}
	for _, name := range leaves {
		info, err := os.Stat(filepath.Join(w.dir, name))
		if err != nil || info.Size() == 0 {
			return "", fmt.Errorf("%s did not write %s (%v)\n%s", line, name, err, stderr.String())
		}
	}
	fmt.Printf("%6.1fs  %s\n", time.Since(started).Seconds(), line)
	return stdout.String(), nil
}

// download fetches the model; nothing after it uses the network.
func (w *walk) download(ctx context.Context) error {
	h, err := serve(w.model, name)
	if err != nil {
		return err
	}
	w.env = append(w.env, "HF_ENDPOINT="+h.url)
	_, err = w.do(ctx, []string{"download", name})
	return errors.Join(err, h.close())
}

func (w *walk) init(ctx context.Context) error {
	if _, err := w.do(ctx, []string{"init", "less", "--model", name, "--data", "rows.jsonl", "--eval", "wanted.jsonl"}, "less.yaml", "components.yaml", "dataset_info.json"); err != nil {
		return err
	}
	_, err := w.do(ctx, []string{"check", "less.yaml"})
	return err
}

// arguments are the arguments of a training run.
func (w *walk) arguments(out string) []string {
	return append([]string{"train", "less.yaml", "output_dir=" + out, "save_steps=2", "save_total_limit=2", "plot_loss=false"}, w.set...)
}

func (w *walk) train(ctx context.Context) error {
	_, err := w.do(ctx, w.arguments("whole"), "whole/adapter_model.safetensors", "whole/selected_rows.jsonl", "whole/selection_report.html")
	return err
}

func (w *walk) look(ctx context.Context) error {
	if err := os.Remove(filepath.Join(w.dir, "whole/selection_report.html")); err != nil {
		return err
	}
	_, err := w.do(ctx, []string{"report", "whole"}, "whole/selection_report.html")
	return err
}

func (w *walk) pick(ctx context.Context) error {
	_, err := w.do(ctx, []string{"pick", "whole", "--dataset-dir", ".", "--top", "8", "--out", "picked/best.jsonl"}, "picked/best.jsonl", "picked/dataset_info.json")
	return err
}

// answers generates an answer, which must not be empty unless the model ends at once.
func (w *walk) answers(ctx context.Context, args ...string) error {
	_, err := w.do(ctx, append([]string{"generate"}, append(args, "max_new_tokens=8", "--prompt", "Add 21 and 4")...))
	return err
}

func (w *walk) talk(ctx context.Context) error {
	return w.answers(ctx, "model_name_or_path="+name, "adapter_name_or_path=whole")
}

func (w *walk) export(ctx context.Context) error {
	if _, err := w.do(ctx, []string{"export", "model_name_or_path=" + name, "adapter_name_or_path=whole", "export_dir=merged"}, "merged/model.safetensors", "merged/config.json"); err != nil {
		return err
	}
	return w.answers(ctx, "model_name_or_path=merged")
}

func (w *walk) gguf(ctx context.Context) error {
	if w.options.gguf == "" {
		fmt.Println("skipped: no GGUF file")
		return nil
	}
	return w.answers(ctx, "model_name_or_path="+w.options.gguf, "template=default")
}

// killed kills a run after its first checkpoint and repeats the same command, which must resume
// and end with the weights of the uninterrupted run.
func (w *walk) killed(ctx context.Context) error {
	if err := w.kill(ctx); err != nil {
		return err
	}
	fmt.Println("        killed after its first checkpoint")
	if _, err := w.do(ctx, w.arguments("killed"), "killed/adapter_model.safetensors"); err != nil {
		return err
	}
	whole, _, err := storage.SHA256(filepath.Join(w.dir, "whole/adapter_model.safetensors"))
	if err != nil {
		return err
	}
	again, _, err := storage.SHA256(filepath.Join(w.dir, "killed/adapter_model.safetensors"))
	if err == nil && whole != again {
		err = errors.New("the run that was killed and resumed has other weights than the uninterrupted one")
	}
	return err
}

// kill starts the run and kills it once it has saved.
func (w *walk) kill(ctx context.Context) error {
	c := w.command(ctx, w.arguments("killed")...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		return err
	}
	var waiting task.Group
	ended := make(chan error, 1)
	waiting.Go(func() { ended <- c.Wait() })
	defer waiting.Wait()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("the run to be killed ended first (%v): use more rows\n%s", err, stderr.String())
		case <-look.C:
			if found, err := filepath.Glob(filepath.Join(w.dir, "killed", storage.StepPrefix+"*")); err != nil || len(found) > 0 {
				return errors.Join(err, c.Process.Kill())
			}
		}
	}
}
