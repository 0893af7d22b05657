//go:build cgo && linux

package nccl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// The tests run against testdata/fakenccl, which TestMain builds with the C compiler. A rank
// is a process of this test binary with rankEnv set; rank 0 makes the ID and prints it, the
// others get it from the environment.
const (
	rankEnv = "DATAFLEX_NCCL_TEST_RANK"
	sizeEnv = "DATAFLEX_NCCL_TEST_SIZE"
	caseEnv = "DATAFLEX_NCCL_TEST_CASE"
	idEnv   = "DATAFLEX_NCCL_TEST_ID"
)

func TestMain(m *testing.M) {
	if os.Getenv(rankEnv) != "" {
		if err := rank(); err != nil {
			fmt.Println("error:", err)
			os.Exit(3)
		}
		fmt.Println("right")
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "fakenccl")
	if err != nil {
		panic(err)
	}
	if err := buildFake(filepath.Join(dir, "libnccl.so.2")); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Setenv("DATAFLEX_LIBNCCL", filepath.Join(dir, "libnccl.so.2"))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildFake compiles the fake library; a C compiler exists, because this package was built
// with cgo.
func buildFake(out string) error {
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "gcc"
	}
	text, err := exec.Command(compiler, "-std=gnu11", "-O2", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-o", out,
		"testdata/fakenccl/hub.c", "testdata/fakenccl/comm.c", "-ldl").CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the fake NCCL: %w\n%s", err, text)
	}
	return nil
}

// launch runs a case on size ranks and returns what each printed, and the error with which
// it ended.
func launch(t *testing.T, name string, size int, env ...string) (out []string, errs []error) {
	t.Helper()
	out, errs = make([]string, size), make([]error, size)
	start := func(rank int, id string) (*exec.Cmd, *bufio.Reader) {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), fmt.Sprint(rankEnv, "=", rank), fmt.Sprint(sizeEnv, "=", size), caseEnv+"="+name, idEnv+"="+id)
		c.Env = append(c.Env, env...)
		c.Stderr = os.Stderr
		pipe, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c, bufio.NewReader(pipe)
	}
	collect := func(rank int, c *exec.Cmd, r *bufio.Reader) {
		var b bytes.Buffer
		_, err := b.ReadFrom(r)
		out[rank], errs[rank] = b.String(), errors.Join(err, c.Wait())
	}
	first, r := start(0, "")
	id, err := r.ReadString('\n')
	if err != nil {
		t.Fatal("rank 0 printed no ID: ", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { collect(0, first, r) })
	for rank := 1; rank < size; rank++ {
		c, r := start(rank, strings.TrimSpace(id))
		wg.Go(func() { collect(rank, c, r) })
	}
	wg.Wait()
	return out, errs
}

// rank runs the case in one process of a job.
func rank() error {
	var rank, size int
	fmt.Sscan(os.Getenv(rankEnv), &rank)
	fmt.Sscan(os.Getenv(sizeEnv), &size)
	id, err := hex.DecodeString(os.Getenv(idEnv))
	if err == nil && rank == 0 {
		if id, err = NewID(); err == nil {
			fmt.Println(hex.EncodeToString(id))
		}
	}
	if err != nil {
		fmt.Println()
		return err
	}
	c := cases[os.Getenv(caseEnv)]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if os.Getenv(caseEnv) == "absent" {
		if rank == 1 {
			return nil // never joins
		}
		ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
	}
	dev, err := c.device()
	if err != nil {
		return err
	}
	job, err := Open(ctx, id, rank, size, dev)
	if err != nil {
		return err
	}
	return errors.Join(c.run(ctx, job, dev), job.Close())
}

func TestValues(t *testing.T) {
	for _, size := range []int{1, 2, 4} {
		out, errs := launch(t, "values", size, "DATAFLEX_LIBCUDA=none")
		for r, err := range errs {
			if err != nil || !strings.Contains(out[r], "right") {
				t.Errorf("rank %d of %d: %v\n%s", r, size, err, out[r])
			}
		}
	}
}

// TestOrderOfTheSum: ReduceScatter's order is the library's: the sum of 1, 1e8 and −1e8 from
// three ranks is 0 or 1, depending on where it starts.
func TestOrderOfTheSum(t *testing.T) {
	for order, want := range map[string]string{"rank": "0 0 0", "reverse": "1 1 1", "ring": "0 1 0"} {
		out, errs := launch(t, "order", 3, "DATAFLEX_LIBCUDA=none", "FAKENCCL_ORDER="+order)
		if errs[0] != nil || !strings.HasPrefix(out[0], want+"\n") {
			t.Errorf("%s: %q, want %q; %v", order, out[0], want, errs[0])
		}
	}
}

// TestFaults compares what rank 0 reports of the faults of rank 1.
func TestFaults(t *testing.T) {
	const answer = "no answer from the other ranks (NCCL_DEBUG=INFO says more): context deadline exceeded"
	for _, c := range []struct{ name, call, want string }{
		{"another length", "rank 0 of 2: AllGather(8 to 16 floats): ", "invalid usage: fakenccl: rank 0 called ncclAllGather(count 8, type 7, root 0), rank 1 ncclAllGather(count 9"},
		{"another part", "rank 0 of 2: AllToAll(8 to 8 floats): ", "invalid usage: fakenccl: rank 0 receives 4 of type 7, rank 1 sent 5"},
		{"another call", "rank 0 of 2: AllToAll(8 to 8 floats): ", "waits to receive from rank"},
		{"left", "rank 0 of 2: Barrier: ", "rank 1 ncclCommFinalize"},
		{"killed", "rank 0 of 2: Barrier: ", "remote process exited or there was a network error: fakenccl: rank 1 has gone (6)"},
		{"late", "rank 0 of 2: Barrier: ", answer},
		{"absent", "rank 0 of 2 joins the job: ", answer},
		{"aborted", "rank 0 of 2: Barrier: ", "fakenccl: rank 1 has gone"},
		{"aborted meanwhile", "rank 0 of 2: Barrier: ", "fakenccl: rank 1 has gone"},
	} {
		began := time.Now()
		out, errs := launch(t, c.name, 2, "DATAFLEX_LIBCUDA=none")
		if errs[0] == nil || !strings.Contains(out[0], "nccl: "+c.call) || !strings.Contains(out[0], c.want) {
			t.Errorf("%s: rank 0 ended with %v and said %q, want %q and %q", c.name, errs[0], out[0], c.call, c.want)
		}
		if strings.HasPrefix(c.name, "aborted") && !strings.Contains(out[1], "nccl: rank 1 of 2: Barrier: the job was ended: disk full") {
			t.Errorf("%s: rank 1 said %q", c.name, out[1])
		}
		t.Logf("%s: %v", c.name, time.Since(began).Round(time.Millisecond))
	}
}

// TestOldLibrary: a library whose calls cannot be given up is refused.
func TestOldLibrary(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), rankEnv+"=0", sizeEnv+"=1", caseEnv+"=values", "FAKENCCL_VERSION=21307")
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "NCCL 2.13.7 is too old, 2.14 or newer is required") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNoLibrary(t *testing.T) {
	for path, want := range map[string]string{
		"/nowhere/libnccl.so.2": "/nowhere/libnccl.so.2: cannot open shared object file",
		"libm.so.6":             "libm.so.6 is no NCCL of 2.14 or newer: it has no ncclGetVersion",
	} {
		t.Setenv("DATAFLEX_LIBNCCL", path)
		if _, err := NewID(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "pip install") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestPlaces: only the library named by the variable, or else the loader's and that of the
// Python environment.
func TestPlaces(t *testing.T) {
	env := t.TempDir()
	lib := filepath.Join(env, "lib/python3.12/site-packages/nvidia/nccl/lib/libnccl.so.2")
	if err := os.MkdirAll(filepath.Dir(lib), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lib, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VIRTUAL_ENV", env)
	t.Setenv("CONDA_PREFIX", "")
	if got, want := places(), []string{os.Getenv("DATAFLEX_LIBNCCL")}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	t.Setenv("DATAFLEX_LIBNCCL", "")
	if got, want := places(), []string{"libnccl.so.2", lib}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestHostIsRefused(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	if _, err := Open(t.Context(), make([]byte, 128), 0, 1, driver.Device(dev)); err == nil || !strings.Contains(err.Error(), "NCCL connects GPUs, but rank 0's device is cpu") {
		t.Error(err)
	}
}
