// Command build makes the bundle for GPU machines: `make gpu-bundle`. See tools/gpubundle
// for what it does there.
//
// Programs with the CUDA driver in them ask for nothing newer than glibc 2.17 and are
// checked for it. Every test binary carries the same Go runtime, so all of them lie in one
// archive whose compression sees that: a fifth of their size. The bundle may not be larger
// than 40 MiB, so that it travels with the repository where 64 may.
package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/tools/dashes"
)

// sizeLimit is the bytes of the whole bundle.
const sizeLimit = 40 << 20

// The newest glibc that the programs may need: CentOS 7's.
const glibcMinor = 17

// builder makes one bundle in out; what goes into the archive is in stage until then.
type builder struct {
	out, stage, version string
	only                string // families whose tests go in, comma-separated; "" = all
}

func main() {
	var b builder
	pflag.StringVarP(&b.out, "out", "o", "bin/gpu", "where the bundle is made; what was there is removed")
	pflag.StringVar(&b.version, "version", "unknown", "what the programs call themselves")
	pflag.StringVar(&b.only, "tests", "", "only the tests of these packages' folders, comma-separated: to try a bundle")
	dashes.Parse()
	if err := b.build(); err != nil {
		fmt.Fprintln(os.Stderr, "gpubundle/build:", err)
		os.Exit(1)
	}
}

func (b builder) build() error {
	if _, err := os.Stat("kernels"); err != nil {
		return fmt.Errorf("run from the top of the repository: %w", err)
	}
	if err := os.RemoveAll(b.out); err != nil {
		return err
	}
	b.stage = filepath.Join(b.out, "stage")
	for _, step := range []func() error{b.programs, b.tests, b.ptx, b.data, b.pack, b.check} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// programTags leave out, as make does, what no program here uses: gonum's PDF, HTTP/2.
const programTags = "cuda,netgo,osusergo,minimal,nethttpomithttp2"

// linked are the flags of programs with the driver in them: see third_party/cuda/start.c.
const linked = `-s -w -linkmode external -extldflags "-no-pie -Wl,--wrap=__libc_start_main -Wl,--no-as-needed -l:libpthread.so.0 -l:libdl.so.2 -lc"`

// cuda builds with the driver, and for old systems.
func (b builder) cuda(args ...string) error {
	include, err := filepath.Abs("third_party/cuda/include")
	if err != nil {
		return err
	}
	flags := os.Getenv("CGO_CFLAGS")
	if flags == "" {
		return errors.New("no CGO_CFLAGS: make gpu-bundle sets what the CUDA build needs")
	}
	c := exec.Command("go", args...)
	c.Env = append(os.Environ(), fmt.Sprintf("CGO_CFLAGS=%s -DDATAFLEX_OLD_GLIBC -include '%s'", flags, filepath.Join(include, "old_glibc.h")))
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// programs are the runner, which has no C in it, dataflex-train and kbench.
func (b builder) programs() error {
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(b.out, "run"), "./tools/gpubundle")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("the runner: %w\n%s", err, out)
	}
	module, err := exec.Command("go", "list", "-m").Output()
	if err != nil {
		return fmt.Errorf("go list -m: %w", err)
	}
	names := fmt.Sprintf("%s -X main.version=%s -X %s/tools/command.Version=%s", linked, b.version, bytes.TrimSpace(module), b.version)
	if err := b.cuda("build", "-tags", programTags, "-trimpath", "-ldflags", names, "-o", b.stage+"/", "./tools/dataflex-train", "./tools/kbench"); err != nil {
		return err
	}
	return errors.Join(old(filepath.Join(b.stage, "dataflex-train")), old(filepath.Join(b.stage, "kbench")))
}

// tests builds the test binary of every package that has tests for a GPU.
func (b builder) tests() error {
	files, err := filepath.Glob("kernels/*/*_test.go")
	if err != nil {
		return err
	}
	packages := []string{"driver/cuda"}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		p := filepath.Dir(f)
		if p == "kernels/ptx" { // its tests read the sources
			continue
		}
		if strings.Contains(string(text), "optest.Device(") && packages[len(packages)-1] != p {
			packages = append(packages, p)
		}
	}
	for _, p := range packages {
		if b.only != "" && !slices.Contains(strings.Split(b.only, ","), filepath.Base(p)) {
			continue
		}
		dir := filepath.Join(b.stage, "tests", filepath.Base(p))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.Base(p)+".test")
		if err := b.cuda("test", "-c", "-tags", programTags, "-trimpath", "-ldflags", linked, "-o", name, "./"+p); err != nil {
			return err
		}
		if err := old(name); err != nil {
			return err
		}
		if p == "driver/cuda" {
			continue // its testdata is the fake driver's source
		}
		if err := testFiles(p, dir); err != nil {
			return err
		}
	}
	return nil
}

// testFiles copies what the tests of a package read: testdata, and assembly, which some
// interpret.
func testFiles(from, to string) error {
	if data := filepath.Join(from, "testdata"); exists(data) {
		if err := os.CopyFS(filepath.Join(to, "testdata"), os.DirFS(data)); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(from, "*.s"))
	if err != nil {
		return err
	}
	if from == "kernels/dev" { // which is for tests alone, and embeds nothing
		probes, err := filepath.Glob(filepath.Join(from, "*.ptx"))
		if err != nil {
			return err
		}
		files = append(files, probes...)
	}
	for _, f := range files {
		if err := copyFile(f, filepath.Join(to, filepath.Base(f))); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// ptx copies the PTX of all families, under names that tell them apart.
func (b builder) ptx() error {
	files, err := filepath.Glob("kernels/*/*.ptx")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(b.stage, "ptx"), 0o755); err != nil {
		return err
	}
	for _, f := range files {
		family := filepath.Base(filepath.Dir(f))
		name := filepath.Base(f)
		if !strings.HasPrefix(name, family+".") {
			name = family + "." + name
		}
		if err := copyFile(f, filepath.Join(b.stage, "ptx", name)); err != nil {
			return err
		}
	}
	return nil
}

// data is the model that is trained, and the page that goes with the runner.
func (b builder) data() error {
	if err := os.CopyFS(filepath.Join(b.stage, "model"), os.DirFS("tools/dataflex-demo/model")); err != nil {
		return err
	}
	return copyFile("tools/gpubundle/bundle.md", filepath.Join(b.out, "README.md"))
}

// window is how far back the archive's compression looks: past a whole test binary.
const window = 128 << 20

// pack makes the archive and removes what went into it.
func (b builder) pack() error {
	f, err := os.Create(filepath.Join(b.out, "bundle.tar.zst"))
	if err != nil {
		return err
	}
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(window))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	return errors.Join(t.AddFS(os.DirFS(b.stage)), t.Close(), z.Close(), f.Close(), os.RemoveAll(b.stage))
}

// check holds the bundle to its size.
func (b builder) check() error {
	entries, err := os.ReadDir(b.out)
	if err != nil {
		return err
	}
	var size int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		fmt.Printf("%10d %s\n", info.Size(), filepath.Join(b.out, e.Name()))
	}
	if size > sizeLimit {
		return fmt.Errorf("the bundle is %d bytes, %d are allowed", size, sizeLimit)
	}
	return nil
}

var glibc = regexp.MustCompile(`^GLIBC_2\.(\d+)`)

// old is an error if a program asks for a newer glibc than glibcMinor, or for a library
// that is not part of it.
func old(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range symbols {
		if m := glibc.FindStringSubmatch(s.Version); m != nil {
			if minor, err := strconv.Atoi(m[1]); err != nil || minor > glibcMinor {
				return fmt.Errorf("%s needs %s of %s: see third_party/cuda/include/old_glibc.h", path, s.Name, s.Version)
			}
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, l := range libraries {
		switch l {
		case "libc.so.6", "libpthread.so.0", "libdl.so.2":
		default:
			return fmt.Errorf("%s needs %s", path, l)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
