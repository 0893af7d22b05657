//go:build cgo && linux

package mpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests run this test binary under mpirun, with the name of the ranks' case in caseEnv,
// and with the plugin that TestMain compiles with mpicc, or the library named by
// DATAFLEX_MPI. Without mpirun or mpicc they are skipped.
const caseEnv = "DATAFLEX_MPI_TEST_CASE"

var plugin, reason string // reason says why there is no plugin

func TestMain(m *testing.M) {
	if name := os.Getenv(caseEnv); name != "" {
		if err := rank(name); err != nil {
			fmt.Println("error:", err)
			<-time.After(time.Second) // mpirun ends the job with the first rank: let the others print before that
			os.Exit(3)
		}
		fmt.Println("right")
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "mpi")
	if err != nil {
		panic(err)
	}
	tools := []string{"mpirun"}
	if plugin = os.Getenv("DATAFLEX_MPI"); plugin == "" {
		tools = append(tools, "mpicc")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			reason = err.Error()
		}
	}
	if plugin == "" && reason == "" {
		plugin = filepath.Join(dir, "libdataflex-mpi.so")
		if out, err := exec.Command("mpicc", "-O2", "-Wall", "-Werror", "-Wno-stringop-overflow", "-shared", "-fPIC", "-o", plugin, "../../third_party/mpi/plugin/mpi.c").CombinedOutput(); err != nil {
			fmt.Printf("the plugin does not compile: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// mpirun runs a case on that many ranks and returns what they print.
func mpirun(t *testing.T, size int, name string, flags ...string) (string, error) {
	t.Helper()
	if reason != "" {
		t.Skip("no MPI: ", reason)
	}
	args := append([]string{"-np", fmt.Sprint(size)}, flags...)
	if version, _ := exec.Command("mpirun", "--version").Output(); bytes.Contains(version, []byte("Open MPI")) {
		args = append([]string{"--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--tag-output"}, args...)
	}
	return start(t, name, append([]string{"mpirun"}, append(args, os.Args[0])...)...)
}

func start(t *testing.T, name string, line ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, line[0], line[1:]...)
	c.Env = append(os.Environ(), caseEnv+"="+name, "DATAFLEX_MPI="+plugin)
	out, err := c.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s did not end:\n%s", name, out)
	}
	return string(out), err
}

// launched is the rank and size given by Open MPI's or MPICH's launcher.
func launched() (w Want) {
	w.Size = 1
	for _, names := range [][2]string{{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, {"PMI_RANK", "PMI_SIZE"}} {
		if s := os.Getenv(names[1]); s != "" {
			fmt.Sscan(os.Getenv(names[0]), &w.Rank)
			fmt.Sscan(s, &w.Size)
			break
		}
	}
	return w
}

// rank runs the case in one process of a job.
func rank(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dev := device(name)
	c, err := Open(ctx, launched(), dev)
	if err != nil {
		return err
	}
	if err := cases[name](ctx, c, dev); err != nil {
		return errors.Join(err, c.Close())
	}
	return c.Close()
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		size int
		name string
	}{{1, "values"}, {3, "values"}, {4, "values"}, {2, "values on sim"}, {3, "values in pieces"}} {
		out, err := mpirun(t, c.size, c.name)
		if err != nil || strings.Count(out, "right") != c.size {
			t.Errorf("%s on %d ranks: %v\n%s", c.name, c.size, err, out)
		}
	}
}

// TestSameBits compares the sum over eight lanes on 1, 2, 4 and 8 processes.
func TestSameBits(t *testing.T) {
	sums := map[string]bool{}
	for _, size := range []int{1, 2, 4, 8} {
		out, err := mpirun(t, size, "eight lanes")
		found := regexp.MustCompile(`sum [0-9a-f]{64}`).FindAllString(out, -1)
		if err != nil || len(found) != size {
			t.Fatalf("%d ranks: %v\n%s", size, err, out)
		}
		for _, s := range found {
			sums[s] = true
		}
	}
	if len(sums) != 1 {
		t.Errorf("%d different sums: %v", len(sums), sums)
	}
}

// TestFaults: a job that cannot go on ends, and its surviving ranks report the reason.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
		want []string
	}{
		{"another call", 2, []string{
			"mpi: rank 0 of 2: AllToAll(8 to 8 floats): ", "mpi: rank 1 of 2: AllToAll(10 to 10 floats): ",
			"the ranks make different calls: rank 0 called AllToAll(8 to 8 floats), rank 1 called AllToAll(10 to 10 floats)",
		}},
		{"left", 2, []string{"rank 0 called Barrier, rank 1 called Close"}},
		{"late", 3, []string{
			"of 3: Barrier: waiting for rank 2: context deadline exceeded",
			"mpi: rank 2 of 3: Barrier: rank ", "gave up: waiting for rank 2: context deadline exceeded",
		}},
		{"aborted", 2, []string{
			"mpi: rank 1 of 2: Barrier: the job was ended: disk full",
			"mpi: rank 0 of 2: Barrier: rank 1 gave up: the job was ended: disk full",
		}},
		// Rank 0 may be inside a call, and then also names the rank it was waiting for.
		{"aborted meanwhile", 2, []string{
			"mpi: rank 0 of 2: Barrier: ", "mpi: rank 1 of 2: Barrier: rank 0 gave up: ", "the job was ended: disk full",
		}},
	} {
		out, err := mpirun(t, c.size, c.name)
		for _, want := range c.want {
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("%s: %v, the output lacks %q:\n%s", c.name, err, want, out)
			}
		}
	}
}

// TestDeadRank: a rank is killed while the others wait for it; mpirun ends the job.
func TestDeadRank(t *testing.T) {
	began := time.Now()
	out, err := mpirun(t, 3, "killed")
	if err == nil || strings.Contains(out, "right") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("the job ended after %v: %v", time.Since(began).Round(time.Millisecond), err)
}

// TestSignalsStayGos: MPI's signal handlers do not replace Go's.
func TestSignalsStayGos(t *testing.T) {
	out, err := mpirun(t, 2, "signals")
	if err != nil || strings.Count(out, "right") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestWrongLauncher: variables as MPICH's mpiexec sets them with Open MPI's library, which
// then starts a job of one process.
func TestWrongLauncher(t *testing.T) {
	if reason != "" {
		t.Skip("no MPI: ", reason)
	}
	out, err := start(t, "values", "env", "PMI_RANK=1", "PMI_SIZE=2", os.Args[0])
	for _, want := range []string{"as rank 1 of 2, but ", " says rank 0 of 1: launcher and library belong to different MPIs", "make mpi"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%v, the output lacks %q:\n%s", err, want, out)
		}
	}
}

// TestNoLibrary: the error names what was tried and the way out.
func TestNoLibrary(t *testing.T) {
	t.Setenv("DATAFLEX_MPI", "/nowhere/libdataflex-mpi.so")
	_, err := find()
	for _, want := range []string{"make mpi", "DATAFLEX_MPI", "/nowhere/libdataflex-mpi.so: cannot open shared object file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	t.Setenv("DATAFLEX_MPI", "libm.so.6")
	if _, err := find(); err == nil || !strings.Contains(err.Error(), "dataflex_mpi_2") {
		t.Errorf("a library that is no plugin: %v", err)
	}
	t.Setenv("DATAFLEX_MPI", "")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(filepath.Dir(exe), "libdataflex-mpi.so"), "libdataflex-mpi.so", "libmpi_abi.so.1", "libmpi_abi.so.0"}
	if got := places(); !slices.Equal(got, want) {
		t.Errorf("places %q, want %q", got, want)
	}
}
