//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/model/checkpoint"
)

// asProgram makes the test's binary the program itself.
const asProgram = "DATAFLEX_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// training is the running program, training the demo's model.
type training struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	stderr *bufio.Reader
	pipe   io.Closer
	log    strings.Builder
}

// start trains for a number of steps. shell, if not empty, is executed by sh before.
func start(t *testing.T, shell string, steps int) *training {
	t.Helper()
	r := &training{t: t, dir: t.TempDir()}
	var rows strings.Builder
	for i := range 32 {
		fmt.Fprintf(&rows, "{\"instruction\": \"add %d and %d\", \"input\": \"\", \"output\": \"%d\"}\n", i, i+1, 2*i+1)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("rows.jsonl", rows.String())
	write("dataset_info.json", `{"rows": {"file_name": "rows.jsonl"}}`)
	write("run.yaml", fmt.Sprintf(`model_name_or_path: ../dataflex-demo/model
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
dataset_dir: %[1]s
dataset: rows
template: chatml
cutoff_len: 64
output_dir: %[1]s/out
per_device_train_batch_size: 2
max_steps: %[2]d
logging_steps: 1
save_steps: 1000000
`, r.dir, steps))
	r.cmd = exec.Command("sh", "-c", shell+` exec "$0" -config "$1"`, os.Args[0], filepath.Join(r.dir, "run.yaml"))
	r.cmd.Env = append(os.Environ(), asProgram+"=1", "DATAFLEX_CACHE="+filepath.Join(r.dir, "cache"))
	pipe, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.pipe, r.stderr = pipe, bufio.NewReader(pipe)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// until reads the log up to a line that contains what.
func (r *training) until(what string) {
	r.t.Helper()
	for {
		line, err := r.stderr.ReadString('\n')
		r.log.WriteString(line)
		if strings.Contains(line, what) {
			return
		}
		if err != nil {
			r.t.Fatalf("the log ended before %q:\n%s", what, r.log.String())
		}
	}
}

func (r *training) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// end waits for the program and returns its exit code and its newest checkpoint.
func (r *training) end() (code int, saved string) {
	r.t.Helper()
	rest, err := io.ReadAll(r.stderr)
	r.log.Write(rest)
	if err != nil {
		r.t.Log(err)
	}
	_ = r.cmd.Wait() // its exit code is asked for
	saved, _, _, err = checkpoint.Newest(filepath.Join(r.dir, "out"))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.cmd.ProcessState.ExitCode(), saved
}

// TestSignals: signals that ask the program to stop make it save and exit with 130.
func TestSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if signal.Ignored(s) {
			t.Logf("%s is ignored here, as under nohup, and so by the program", s)
			continue
		}
		r := start(t, "", 1_000_000)
		r.until("step=2/")
		r.signal(s)
		if code, saved := r.end(); code != 130 || saved == "" {
			t.Errorf("%s: exit code %d, checkpoint %q:\n%s", s, code, saved, r.log.String())
		}
	}
}

// TestSaveAndGoOn: under nohup a closed terminal does not stop the program, and SIGUSR1 makes
// it save and continue.
func TestSaveAndGoOn(t *testing.T) {
	r := start(t, `trap "" HUP;`, 1_000_000)
	r.until("step=1/")
	r.signal(syscall.SIGHUP)
	r.signal(syscall.SIGUSR1)
	r.until("checkpoint saved, training continues")
	first, _, _, err := checkpoint.Newest(filepath.Join(r.dir, "out"))
	if err != nil || first == "" {
		t.Errorf("SIGUSR1 saved %q, %v", first, err)
	}
	r.until("step=")
	r.signal(syscall.SIGTERM)
	if code, last := r.end(); code != 130 || last == first {
		t.Errorf("exit code %d, checkpoint %s after %s:\n%s", code, last, first, r.log.String())
	}
}

// TestDeadOutput: if the log's reader ends, lines are lost but the run continues.
func TestDeadOutput(t *testing.T) {
	r := start(t, "", 40)
	r.until("step=1/")
	r.pipe.Close()
	_ = r.cmd.Wait()
	saved, step, _, err := checkpoint.Newest(filepath.Join(r.dir, "out"))
	if code := r.cmd.ProcessState.ExitCode(); code != 0 || step != 40 || err != nil {
		t.Errorf("exit code %d (%s), checkpoint %q of step %d, %v", code, r.cmd.ProcessState, saved, step, err)
	}
}
