package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakePart is a kbench that measures what its flags ask for: norm_backward's process dies,
// layernorm_backward hangs, cast_narrow fails.
const fakePart = `#!/bin/sh
path=$4
names=$(echo "$7" | tr -d '^()$\\' | tr '|' ' ')
records=
for n in $names; do
  case $n in
  norm_backward/*) echo "a fault" >&2; exit 3;;
  layernorm_backward/*) exec sleep 600;;
  cast_narrow/*) r='{"name": "'$n'", "error": "out of memory"}';;
  *) r='{"name": "'$n'", "median_s": 1}';;
  esac
  records="$records${records:+, }$r"
  echo '{"kind": "cuda", "ceilings": {"copy_gb_s": 7}, "records": ['"$records"']}' >$path
  echo $n
  case $r in *error*) exit 1;; esac
done
`

// TestParts: a case that ends its process costs itself, one that hangs its family, one that
// fails itself alone; the rest is measured.
func TestParts(t *testing.T) {
	dir := t.TempDir()
	exe := filepath.Join(dir, "kbench")
	if err := os.WriteFile(exe, []byte(fakePart), 0o755); err != nil {
		t.Fatal(err)
	}
	cases := must2(selected("sim", false, regexp.MustCompile("^norm|^layernorm|^cast|^copy")))
	slices.SortStableFunc(cases, func(a, b Case) int { return strings.Compare(b.Op, a.Op) })
	p := parts{options: options{device: "cuda", limit: time.Second}, exe: exe, path: filepath.Join(dir, "part.json"), w: new(strings.Builder), deadline: time.Now().Add(time.Hour)}
	r, err := p.measure(cases)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range r.Records {
		op, _, _ := strings.Cut(k.Name, "/")
		got = append(got, op+" "+k.Error)
	}
	want := []string{
		"norm_forward ", "norm_backward_dw ", "norm_backward its process ended: exit status 3: a fault", "layernorm_forward ",
		"layernorm_backward no end after 1s", "copy ", "cast_widen ", "cast_narrow out of memory",
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := r.failures(); err == nil || err.Error() != "3 of 8 cases failed" || r.Ceilings.Copy != 7 {
		t.Errorf("%v, %+v", err, r.Ceilings)
	}
}

// TestHungFamily: after a case that does not come back the family is left alone, and after
// the deadline everything.
func TestHungFamily(t *testing.T) {
	dir := t.TempDir()
	exe := filepath.Join(dir, "kbench")
	if err := os.WriteFile(exe, []byte(fakePart), 0o755); err != nil {
		t.Fatal(err)
	}
	cases := must2(selected("sim", false, regexp.MustCompile("^layernorm|^copy")))
	slices.SortStableFunc(cases, func(a, b Case) int { return strings.Compare(a.Op, b.Op) })
	hangs := slices.IndexFunc(cases, func(c Case) bool { return c.Op == "layernorm_backward" })
	cases[0], cases[hangs] = cases[hangs], cases[0]
	p := parts{options: options{device: "cuda", limit: time.Second}, exe: exe, path: filepath.Join(dir, "part.json"), w: new(strings.Builder), deadline: time.Now().Add(time.Hour)}
	r, err := p.measure(cases)
	if err != nil || len(r.Records) != len(cases) || r.Records[0].Error != "no end after 2s" {
		t.Fatalf("%v, %+v", err, r)
	}
	for _, k := range r.Records[1:] {
		if skipped := strings.Contains(k.Error, "did not come back"); skipped != strings.HasPrefix(k.Name, "layernorm") {
			t.Errorf("%s: %s", k.Name, k.Error)
		}
	}
	p.deadline = time.Now()
	if r, err = p.measure(cases); err != nil || len(r.Records) != len(cases) || r.failures() != nil || r.Records[0].Error != notReached {
		t.Errorf("%v, %+v", err, r)
	}
	c := Ceilings{Copy: 2, Tensor: 5, Launch: 3}
	if c.raise(Ceilings{Copy: 3, Tensor: 4, Launch: 2}); c != (Ceilings{Copy: 3, Tensor: 5, Launch: 2}) {
		t.Errorf("%+v", c)
	}
}

// TestTorch: the times of a python3 that has torch stand in the records, and where there is
// none the table says so and goes on.
func TestTorch(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, why := findTorch("cuda"); why != "no torch: no python3 on this machine" {
		t.Error(why)
	}
	fake := "#!/bin/sh\ncase $1 in -c) echo \"$2\" | /bin/grep -q cuda && { echo it sees no GPU >&2; exit 1; }; exit 0;; esac\n" +
		`echo '{"torch": "2.7.1", "median_s": {"a": 0.5}, "how": {"a": "matmul"}, "errors": {"b": "OutOfMemoryError"}}' >$3` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "python3"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, why := findTorch("cuda"); why != "no torch: exit status 1: it sees no GPU" {
		t.Error(why)
	}
	python, why := findTorch("cpu")
	if why != "" {
		t.Fatal(why)
	}
	r := &Report{Device: "x", Kind: "cuda", Records: []Record{{Name: "a", Median: 0.25, Ops: 1e12, Bound: "tensor", TFLOPs: 4, Check: "ok"}, {Name: "b", Median: 1, Check: "BAD: 1 of 2"}}}
	if why := r.torchCases(python, dir, "cpu", time.Minute, new(strings.Builder)); why != "" {
		t.Fatal(why)
	}
	var text strings.Builder
	r.summary(&text)
	for _, want := range []string{"torch 2.7.1", "2.00 (matmul)", "OutOfMemoryError 1 of 2", "BAD "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if err := r.failures(); err == nil || err.Error() != "of 2 cases 1 are wrong and 0 failed" {
		t.Errorf("%v", err)
	}
}
