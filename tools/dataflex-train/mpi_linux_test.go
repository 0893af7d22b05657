//go:build cgo && linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// cluster is a folder with a small run, that Open MPI's mpirun trains on several processes.
type cluster struct {
	t        *testing.T
	dir      string
	plugin   string
	programs []string // of the ranks, where they are not the test's own
}

// newCluster compiles the plugin. Without Open MPI the test is skipped.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	for _, tool := range []string{"mpirun", "mpicc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no MPI here (apt-get install openmpi-bin libopenmpi-dev): ", err)
		}
	}
	if version, err := exec.Command("mpirun", "--version").Output(); err != nil || !bytes.Contains(version, []byte("Open MPI")) {
		t.Skipf("mpirun is not Open MPI's: %s", version)
	}
	c := newRun(t)
	c.plugin = filepath.Join(c.dir, "libdataflex-mpi.so")
	if out, err := exec.Command("mpicc", "-O2", "-shared", "-fPIC", "-o", c.plugin, "../../third_party/mpi/plugin/mpi.c").CombinedOutput(); err != nil {
		t.Fatalf("the plugin does not compile: %v\n%s", err, out)
	}
	return c
}

// newRun is the folder alone.
func newRun(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	model, err := filepath.Abs("../dataflex-demo/model")
	if err != nil {
		t.Fatal(err)
	}
	var rows, other strings.Builder
	for i := range 48 {
		fmt.Fprintf(&rows, "{\"instruction\": \"add %d and %d\", \"input\": \"\", \"output\": \"%d\"}\n", i, i+1, 2*i+1)
		fmt.Fprintf(&other, "{\"instruction\": \"say %d\", \"input\": \"\", \"output\": \"%d\"}\n", i, i)
	}
	c.write("rows.jsonl", rows.String())
	c.write("other.jsonl", other.String())
	c.write("dataset_info.json", `{"rows": {"file_name": "rows.jsonl"}, "other": {"file_name": "other.jsonl"}}`)
	c.write("components.yaml", `selectors:
  less: {name: less, params: {projection: sjlt, proj_dim: 64, cache_dir: `+c.dir+`/less}}
  loss: {name: loss, params: {cache_dir: `+c.dir+`/loss}}
mixers:
  odm: {name: odm, params: {warmup_steps: 1}}
weighters:
  weights: {name: loss}
pipelines:
  chain: {name: chain, params: {stages: [{family: selector, component: loss, every: 4}, {family: weighter, component: weights, warmup_step: 2}]}}
`)
	c.write("run.yaml", fmt.Sprintf(`model_name_or_path: %[2]s
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 4
lora_dropout: 0.1
dataset_dir: %[1]s
dataset: rows
eval_dataset: other
template: chatml
cutoff_len: 64
output_dir: %[1]s/out
per_device_train_batch_size: 2
max_steps: 6
logging_steps: 1
save_steps: 1000000
components_cfg_file: %[1]s/components.yaml
warmup_step: 2
update_step: 2
`, c.dir, model))
	return c
}

func (c *cluster) write(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// command is a run on that many processes; on one it is without mpirun.
func (c *cluster) command(processes int, overrides ...string) *exec.Cmd {
	args := append([]string{"-config", filepath.Join(c.dir, "run.yaml")}, overrides...)
	cmd := exec.Command(os.Args[0], args...)
	if processes > 1 {
		line := []string{"--allow-run-as-root", "--oversubscribe", "--bind-to", "none"}
		for rank := range processes {
			if rank > 0 {
				line = append(line, ":")
			}
			program := os.Args[0]
			if rank < len(c.programs) {
				program = c.programs[rank]
			}
			line = append(append(line, "-np", "1", program), args...)
		}
		cmd = exec.Command("mpirun", line...)
	}
	cmd.Env = append(os.Environ(), asProgram+"=1", "DATAFLEX_CACHE="+filepath.Join(c.dir, "cache"), "DATAFLEX_MPI="+c.plugin, "OMP_NUM_THREADS=1")
	return cmd
}

func (c *cluster) out(name string) string { return "output_dir=" + filepath.Join(c.dir, name) }

// must trains, with nothing on disk of what another run has chosen.
func (c *cluster) must(processes int, overrides ...string) {
	c.t.Helper()
	for _, name := range []string{"less", "loss"} {
		if err := os.RemoveAll(filepath.Join(c.dir, name)); err != nil {
			c.t.Fatal(err)
		}
	}
	if out, err := c.command(processes, overrides...).CombinedOutput(); err != nil {
		c.t.Fatalf("%d processes, %v: %v\n%s", processes, overrides, err, out)
	}
}

func (c *cluster) adapter(name string) string {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.dir, name, "adapter_model.safetensors"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw)
}

// TestMPIGolden: the same adapter, byte for byte, on any number of processes.
func TestMPIGolden(t *testing.T) {
	c := newCluster(t)
	for name, run := range map[string][]string{
		"static":   {"train_type=static"},
		"less":     {"train_type=dynamic_select", "component_name=less"},
		"loss":     {"train_type=dynamic_select", "component_name=loss"},
		"odm":      {"train_type=dynamic_mix", "component_name=odm", "dataset=rows,other"},
		"weights":  {"train_type=dynamic_weight", "component_name=weights"},
		"pipeline": {"train_type=dynamic_lego", "component_name=chain"},
	} {
		pairs := [][2]int{{2, 2}}
		if name == "static" || name == "less" {
			pairs = [][2]int{{2, 2}, {4, 2}, {4, 4}}
		}
		for _, p := range pairs {
			one, many := fmt.Sprintf("%s-%d-1", name, p[0]), fmt.Sprintf("%s-%d-%d", name, p[0], p[1])
			if _, err := os.Stat(filepath.Join(c.dir, one)); err != nil {
				c.must(1, append(run, c.out(one), fmt.Sprint("ranks=", p[0]))...)
			}
			c.must(p[1], append(run, c.out(many), fmt.Sprint("ranks=", p[0]))...)
			if c.adapter(one) != c.adapter(many) {
				t.Errorf("%s: %d logical ranks train another adapter on %d processes than on one", name, p[0], p[1])
			}
		}
	}
}

// TestMPISharded: what processes share out changes no byte, and a run goes on without shares.
func TestMPISharded(t *testing.T) {
	c := newCluster(t)
	const stage2, stage3 = "deepspeed={zero_optimization: {stage: 2}}", "deepspeed={zero_optimization: {stage: 3}}"
	for name, run := range map[string][]string{
		"full": {"finetuning_type=full", "save_steps=4"},
		"less": {"train_type=dynamic_select", "component_name=less", "save_steps=4"},
	} {
		c.must(1, append(run, c.out(name+"-1"), "ranks=4")...)
		c.must(4, append(run, c.out(name+"-4"), stage2)...)
		c.must(2, append(run, c.out(name+"-2"), stage3, "ranks=4")...)
		files, err := filepath.Glob(filepath.Join(c.dir, name+"-1", "*", "*.safetensors"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%s: %v, %v", name, files, err)
		}
		for _, file := range files {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, processes := range []string{"-4", "-2"} {
				other := strings.Replace(file, name+"-1", name+processes, 1)
				if got, err := os.ReadFile(other); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s differs from that of one process, %v", other, err)
				}
			}
		}
	}
}

// long are the steps of a run that something happens to.
const long = 150

// disturb starts a run on so many processes, and calls do once a step has been logged;
// it returns what the run printed and its error.
func (c *cluster) disturb(processes, step int, do func(), overrides ...string) (string, error) {
	c.t.Helper()
	cmd := c.command(processes, overrides...)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	var log strings.Builder
	r := bufio.NewReader(pipe)
	for {
		line, err := r.ReadString('\n')
		log.WriteString(line)
		if errors.Is(err, io.EOF) {
			break
		}
		if strings.Contains(line, fmt.Sprintf("step=%d/%d ", step, long)) {
			do()
		}
	}
	err = cmd.Wait()
	return log.String(), err
}

// ranks are the processes of the cluster's runs, by rank.
func (c *cluster) ranks() map[int]int {
	c.t.Helper()
	out := map[int]int{}
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, path := range all {
		raw, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(raw, []byte("DATAFLEX_CACHE="+c.dir)) {
			continue // it has ended, or is another's
		}
		for kv := range strings.SplitSeq(string(raw), "\x00") {
			if name, value, _ := strings.Cut(kv, "="); name == "OMPI_COMM_WORLD_RANK" {
				rank, err1 := strconv.Atoi(value)
				pid, err2 := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				if err := errors.Join(err1, err2); err != nil {
					c.t.Fatal(err)
				}
				out[rank] = pid
			}
		}
	}
	return out
}

// TestMPIKilled: one rank is killed at some step. Rank 0, unless it is the one, says what it
// waited for, where mpirun leaves it the time; the run goes on on another number of processes from the newest checkpoint,
// and ends as one that nobody disturbed.
func TestMPIKilled(t *testing.T) {
	c := newCluster(t)
	steps := fmt.Sprint("max_steps=", long)
	c.must(1, c.out("whole"), "ranks=4", steps)
	for i, step := range []int{1, 40, 90} {
		name, victim := fmt.Sprint("killed", step), []int{1, 0, 3}[i]
		log, err := c.disturb(4, step, func() {
			if pid := c.ranks()[victim]; pid == 0 || syscall.Kill(pid, syscall.SIGKILL) != nil {
				t.Errorf("rank %d is not there", victim)
			}
		}, c.out(name), steps, "save_steps=20")
		if err == nil || !strings.Contains(log, fmt.Sprintf("rank %d", victim)) {
			t.Errorf("rank %d is killed, %v:\n%s", victim, err, log)
		}
		if victim != 0 && !strings.Contains(log, "waited for") { // mpirun leaves rank 0 a second, which a loaded machine may not have
			t.Logf("rank 0 was ended before it said where it waited:\n%s", log)
		}
		c.must([]int{2, 1, 4}[i], c.out(name), steps, "save_steps=20")
		if c.adapter(name) != c.adapter("whole") {
			t.Errorf("killed at step %d, the run ends otherwise", step)
		}
	}
}

// TestMPIStopped: SIGTERM of one rank ends all of them at the same step, with a checkpoint.
func TestMPIStopped(t *testing.T) {
	c := newCluster(t)
	steps := fmt.Sprint("max_steps=", long)
	c.must(1, c.out("whole"), "ranks=2", steps)
	log, err := c.disturb(2, 30, func() {
		if err := syscall.Kill(c.ranks()[1], syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}, c.out("stopped"), steps)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 || !strings.Contains(log, "checkpoint saved") {
		t.Errorf("%v:\n%s", err, log)
	}
	c.must(1, c.out("stopped"), steps)
	if c.adapter("stopped") != c.adapter("whole") {
		t.Error("the run ends otherwise")
	}
}

// TestMPIDiffers: ranks with another program or another environment are named before the
// first step.
func TestMPIDiffers(t *testing.T) {
	c := newCluster(t)
	raw, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(c.dir, "another-program")
	if err := os.WriteFile(other, append(raw, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	c.programs = []string{os.Args[0], other}
	out, err := c.command(2, c.out("differs")).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("the program is another content")) || bytes.Contains(out, []byte("step=1/")) {
		t.Errorf("%v:\n%s", err, out)
	}
	c.programs = nil
	if out, err := c.command(3, c.out("three"), "ranks=4").CombinedOutput(); err == nil || bytes.Count(out, []byte("start 1, 2 or 4")) != 1 {
		t.Errorf("4 logical ranks on 3 processes: %v\n%s", err, out)
	}
}

// TestNoEngine: where nothing can connect the processes, one sentence says what to do.
func TestNoEngine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "run.yaml")
	if err := os.WriteFile(file, []byte("model_name_or_path: m\ndataset: d\ntemplate: chatml\noutput_dir: "+dir+"\ndo_train: true\nuse_cpu: true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ env, says string }{
		{"NPROC_PER_NODE=2", "mpirun --bind-to none -np 2"},
		{"RANK=0 WORLD_SIZE=2 LOCAL_RANK=0", "MPI does not know of them"},
		{"FLUX_JOB_SIZE=2", "Flux"},
		{"NNODES=2", "MASTER_ADDR"},
	} {
		cmd := exec.Command(os.Args[0], "-config", file)
		cmd.Env = slices.Concat(os.Environ(), []string{asProgram + "=1"}, strings.Fields(c.env))
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.says) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v\n%s", c.env, err, out)
		}
	}
}

// TestMPIExample: data/examples/cluster/mpirun.sh does what its head says.
func TestMPIExample(t *testing.T) {
	c := newCluster(t)
	cmd := exec.Command("sh", "../../data/examples/cluster/mpirun.sh", filepath.Join(c.dir, "run.yaml"), "max_steps=2")
	cmd.Env = append(c.command(1).Env, "DATAFLEX="+os.Args[0], "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "OMPI_MCA_rmaps_base_oversubscribe=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("ranks=2 processes=2")) || bytes.Count(out, []byte("step=2/2 ")) != 1 {
		t.Errorf("%v:\n%s", err, out)
	}
}
