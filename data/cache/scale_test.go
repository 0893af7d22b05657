//go:build unix

package cache

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// TestScale tokenises a generated JSONL twice. DATAFLEX_SCALE_ROWS makes it large (3000000) and
// DATAFLEX_SCALE_MODEL uses another tokenizer with the qwen template; -v prints speed and peak
// memory.
func TestScale(t *testing.T) {
	rows := 4000
	if n, err := strconv.Atoi(os.Getenv("DATAFLEX_SCALE_ROWS")); err == nil {
		rows = n
	}
	dir := t.TempDir()
	size := generate(t, filepath.Join(dir, "big.jsonl"), rows)
	o := options(t, dir, func(o *Options) { o.Train, o.Info = []string{"big"}, []byte(`{"big":{"file_name":"big.jsonl"}}`) })
	o.Process.CutoffLen = 2048
	if model := os.Getenv("DATAFLEX_SCALE_MODEL"); model != "" {
		var err error
		if o.Tokenizer, err = tokenizer.Load(model); err != nil {
			t.Fatal(err)
		}
		if o.Template, err = template.Get("qwen"); err != nil {
			t.Fatal(err)
		}
		o.Template.FixTokenizer(o.Tokenizer)
	}
	var key string
	for _, found := range []bool{false, true} {
		started, cpu := time.Now(), cpuSeconds(t)
		d, err := Load(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		seconds := time.Since(started).Seconds()
		cpu = cpuSeconds(t) - cpu
		if d.Found != found || len(d.Train) != rows || found && d.Key != key {
			t.Fatalf("found %v, %d rows", d.Found, len(d.Train))
		}
		key = d.Key
		t.Logf("found %v: %.2f s, %.2f s of CPU, %.0f MB of JSONL, %.1f MB per CPU second, peak resident %s",
			found, seconds, cpu, float64(size)/1e6, float64(size)/1e6/cpu, peak())
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
	}
}

// generate writes distinct rows in alpaca's format, about 700 bytes each.
func generate(t *testing.T, path string, rows int) int64 {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sentences := corpus()
	r := rand.New(rand.NewPCG(3, 4))
	w := bufio.NewWriterSize(f, 1<<20)
	e := json.NewEncoder(w)
	for i := range rows {
		var answer []string
		for range 1 + r.IntN(9) {
			answer = append(answer, sentences[r.IntN(len(sentences))])
		}
		err := e.Encode(map[string]string{"instruction": fmt.Sprintf("%d: %s", i, sentences[r.IntN(len(sentences))]), "input": "", "output": strings.Join(answer, " ")})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// corpus is English sentences, from the shared data if it is there.
func corpus() []string {
	out := []string{"The quick brown fox jumps over the lazy dog, and then it sleeps.", "Rewrite the sentence so that it is polite, short and clear."}
	f, err := os.Open("../../../shared/data/finetune/alpaca_en_demo.json.gz")
	if err != nil {
		return out
	}
	defer f.Close()
	text, err := gzip.NewReader(f)
	var records []map[string]string
	if err != nil || json.NewDecoder(text).Decode(&records) != nil {
		return out
	}
	for _, r := range records {
		for s := range strings.SplitSeq(r["output"], ". ") {
			if len(s) > 20 && len(s) < 400 {
				out = append(out, s+".")
			}
		}
	}
	return out
}

// cpuSeconds is the processor time the process has taken.
func cpuSeconds(t *testing.T) float64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peak is the process's largest resident set so far.
func peak() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}
