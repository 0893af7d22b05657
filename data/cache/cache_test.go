package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// The tokenizer is the demo's: byte-level BPE, small.
const tokenizerDir = "../../tools/dataflex-demo/model"

const info = `{
	"a":{"file_name":"a.jsonl"},
	"b":{"file_name":"b.json","formatting":"sharegpt"},
	"n":{"file_name":"a.jsonl","num_samples":150},
	"t":{"file_name":"t.txt","columns":{"prompt":"text"}}}`

// folderOf writes three datasets: a of 120 rows (some of them broken), b of 40, t of 60.
func folderOf(t testing.TB) string {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	words := func(n int) string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprint("w", r.IntN(500))
		}
		return strings.Join(out, " ")
	}
	var a, b, text []string
	for i := range 120 {
		answer := fmt.Sprintf("%q", words(1+r.IntN(12)))
		if i%17 == 3 {
			answer = "null"
		}
		subtask := ""
		if i%5 > 1 {
			subtask = fmt.Sprintf(`,"subtask":"s%d"`, i%5)
		}
		a = append(a, fmt.Sprintf(`{"instruction":%q,"input":"","output":%s%s}`, words(1+r.IntN(20)), answer, subtask))
	}
	for i := range 40 {
		b = append(b, fmt.Sprintf(`{"conversations":[{"from":"human","value":%q},{"from":%q,"value":%q}]}`, words(4), []string{"gpt", "human"}[i%9/8], words(6)))
	}
	for range 60 {
		text = append(text, words(r.IntN(30)))
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		dataset.InfoFile: info, "a.jsonl": strings.Join(a, "\n"), "b.json": "[" + strings.Join(b, ",\n") + "]", "t.txt": strings.Join(text, "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func options(t testing.TB, dir string, change func(*Options)) Options {
	t.Helper()
	tok, err := tokenizer.Load(tokenizerDir)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := template.Get("chatml")
	if err != nil {
		t.Fatal(err)
	}
	tmpl.FixTokenizer(tok)
	o := Options{
		DatasetDir: dir, Train: []string{"a", "b"}, Seed: 7, BufferSize: 16, Tokenizer: tok, Template: tmpl,
		Process: processor.Options{CutoffLen: 64, Threads: 2}, Dir: t.TempDir(),
	}
	if change != nil {
		change(&o)
	}
	return o
}

// inMemory is the expected result of Load, computed with the packages' own functions.
func inMemory(t *testing.T, o Options) (train []data.Example, eval []Set, warnings []string) {
	t.Helper()
	random := rng.NewRandomState(uint32(o.Seed))
	catalog, err := dataset.OpenCatalog(o.DatasetDir, nil)
	if err != nil {
		t.Fatal(err)
	}
	load := func(names []string) []dataset.Group[data.Sample] {
		groups, err := dataset.Collect(names, func(name string) ([]data.Sample, error) {
			s, err := catalog.Source(name)
			if err != nil {
				return nil, err
			}
			var rows []data.Sample
			same := func(part []data.Sample) ([]data.Sample, error) { return part, nil }
			err = dataset.Each(context.Background(), s, s.Limit(o.MaxSamples), 1, same, func(part []data.Sample) error {
				rows = append(rows, part...)
				return nil
			})
			if err != nil {
				return nil, err
			}
			rows, err = dataset.Sliced(s, rows)
			return dataset.Sampled(rows, s.NumSamples, o.MaxSamples, random), err
		})
		if err != nil {
			t.Fatal(err)
		}
		return groups
	}
	mixed := func(names []string) []data.Sample {
		samples, err := dataset.Merge(load(names), o.Mix, o.Probs, o.Seed)
		if err != nil {
			t.Fatal(err)
		}
		return samples
	}
	process := func(samples []data.Sample) []data.Example {
		out, dropped := encodeAll(t, o, samples)
		warnings = append(warnings, processor.Warnings(dropped)...)
		return out
	}
	samples, held, err := dataset.Split(mixed(o.Train), o.ValSize, o.Seed)
	if err != nil {
		t.Fatal(err)
	}
	train = process(samples)
	switch {
	case o.EvalEach:
		for _, g := range load(o.Eval) {
			eval = append(eval, Set{g.Name, process(g.Samples)})
		}
	case o.Eval != nil:
		eval = []Set{{"", process(mixed(o.Eval))}}
	case held != nil:
		eval = []Set{{"", process(held)}}
	}
	return train, eval, warnings
}

// encodeAll encodes samples one after another and packs them.
func encodeAll(t *testing.T, o Options, samples []data.Sample) (out []data.Example, dropped []processor.Dropped) {
	t.Helper()
	e, err := processor.NewSFT(o.Tokenizer, o.Template, o.Process)
	if o.Pretrain {
		e, err = processor.NewPretrain(o.Tokenizer, o.Template, o.Process)
	}
	if err != nil {
		t.Fatal(err)
	}
	emit := func(ex data.Example) error {
		out = append(out, ex)
		return nil
	}
	for _, span := range e.Batches(len(samples)) {
		var batch []data.Example
		for i := span[0]; i < span[1]; i++ {
			ex, d, err := e.Encode(&samples[i])
			switch {
			case err != nil:
				t.Fatal(err)
			case d != nil:
				dropped = append(dropped, *d)
			default:
				batch = append(batch, ex)
			}
		}
		if !e.Packs() {
			out = append(out, batch...)
		} else if err := e.Pack(batch, emit); err != nil {
			t.Fatal(err)
		}
	}
	return out, dropped
}

// For every way of sampling, mixing, splitting and packing, Load gives the result of the
// in-memory functions, both from a new cache and from an existing one.
func TestLoad(t *testing.T) {
	dir := folderOf(t)
	yes, no := true, false
	for name, change := range map[string]func(*Options){
		"plain":          func(*Options) {},
		"max_samples":    func(o *Options) { o.MaxSamples = 25 },
		"num_samples":    func(o *Options) { o.Train = []string{"n", "b"}; o.Eval = []string{"n"} },
		"listed twice":   func(o *Options) { o.Train = []string{"n", "b", "n"} },
		"interleave":     func(o *Options) { o.Mix = dataset.InterleaveOver; o.Probs = []float64{.7, .3} },
		"turns":          func(o *Options) { o.Mix = dataset.InterleaveUnder },
		"val_size":       func(o *Options) { o.ValSize = .2 },
		"eval":           func(o *Options) { o.Train, o.Eval = []string{"a"}, []string{"b", "a"} },
		"eval each":      func(o *Options) { o.Eval = []string{"b", "a"}; o.EvalEach = true },
		"packing":        func(o *Options) { o.Process.Packing = &yes; o.ValSize = 20 },
		"neat":           func(o *Options) { o.Process.NeatPacking = true; o.Process.Workers = 3; o.Process.BatchSize = 11 },
		"train prompt":   func(o *Options) { o.Process.TrainOnPrompt = true },
		"history":        func(o *Options) { o.Process.MaskHistory = true },
		"pt":             func(o *Options) { o.Train, o.Pretrain = []string{"t"}, true },
		"pt batches":     func(o *Options) { o.Train, o.Pretrain = []string{"t"}, true; o.Process.BatchSize = 7; o.ValSize = .3 },
		"pt not packing": func(o *Options) { o.Train, o.Pretrain, o.Process.Packing = []string{"t", "a"}, true, &no },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, dir, change)
			train, eval, warnings := inMemory(t, o)
			for _, found := range []bool{false, true} {
				d, err := Load(context.Background(), o)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				same(t, "train", d.Train, train)
				if d.Found != found || len(d.Eval) != len(eval) {
					t.Fatalf("found %v, %d sets", d.Found, len(d.Eval))
				}
				for i, s := range d.Eval {
					if s.Name != eval[i].Name {
						t.Errorf("set %d is %q", i, s.Name)
					}
					same(t, s.Name, s.Examples, eval[i].Examples)
				}
				var said []string
				for _, w := range d.Warnings {
					if !strings.Contains(w, "listed more than once") {
						said = append(said, w)
					}
				}
				if !reflect.DeepEqual(said, warnings) {
					t.Errorf("warnings %q, want %q", said, warnings)
				}
				for i, ex := range d.Train {
					if n, _ := labelsOf(ex.Labels); int(d.Labels[i]) != n {
						t.Errorf("row %d: %d labels, want %d", i, d.Labels[i], n)
					}
				}
			}
		})
	}
}

func same(t *testing.T, what string, got, want []data.Example) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: -want +got\n%s", what, diff)
	}
}

// With TrainEach the datasets of a mixture are packed separately and stored one after another.
func TestMixture(t *testing.T) {
	dir := folderOf(t)
	o := options(t, dir, func(o *Options) {
		o.TrainEach, o.Mixer, o.Process.NeatPacking = true, []string{"b"}, true
	})
	d, err := Load(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if len(d.Each) != 2 || d.Each[0].Name != "a" || d.Each[1].Name != "b" || len(d.Mixer) != 1 || d.Mixer[0].Name != "b" || d.Eval != nil {
		t.Fatalf("%d parts, %d mixer sets, %d eval sets", len(d.Each), len(d.Mixer), len(d.Eval))
	}
	var all []data.Example
	for _, s := range append(d.Each, d.Mixer...) {
		want, _, _ := inMemory(t, options(t, dir, func(o *Options) { o.Train, o.Process.NeatPacking = []string{s.Name}, true }))
		same(t, s.Name, s.Examples, want)
	}
	for _, s := range d.Each {
		all = append(all, s.Examples...)
	}
	same(t, "train", d.Train, all)
}

// A stream comes in the buffer's order, its first rows are held out, and num_samples has no
// effect.
func TestStreaming(t *testing.T) {
	o := options(t, folderOf(t), func(o *Options) { o.Streaming, o.Train, o.ValSize = true, []string{"n"}, 10 })
	d, err := Load(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var want [2][]int // of the held-out and the training rows
	for i, row := range dataset.StreamOrder(120, 16, 7) {
		if row%17 != 3 { // the broken ones
			set := min(i/10, 1)
			want[set] = append(want[set], row)
		}
	}
	for set, examples := range [][]data.Example{d.Eval[0].Examples, d.Train} {
		var rows []int
		for _, ex := range examples {
			rows = append(rows, ex.Row)
		}
		if !slices.Equal(rows, want[set]) {
			t.Errorf("set %d: %v, want %v", set, rows, want[set])
		}
	}
}

// A cache is keyed by content alone: whatever changes the examples changes the key.
func TestKey(t *testing.T) {
	dir := folderOf(t)
	keys := map[string]string{}
	key := func(name string, o Options) string {
		b, err := newBuilder(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return b.key
	}
	base := key("base", options(t, dir, nil))
	keys[base] = "base"
	yes := true
	for name, change := range map[string]func(*Options){
		"cutoff":   func(o *Options) { o.Process.CutoffLen = 63 },
		"packing":  func(o *Options) { o.Process.Packing = &yes },
		"neat":     func(o *Options) { o.Process.NeatPacking = true },
		"workers":  func(o *Options) { o.Process.NeatPacking = true; o.Process.Workers = 2 },
		"prompt":   func(o *Options) { o.Process.TrainOnPrompt = true },
		"history":  func(o *Options) { o.Process.MaskHistory = true },
		"datasets": func(o *Options) { o.Train = []string{"b", "a"} },
		"eval":     func(o *Options) { o.Eval = []string{"a"} },
		"each":     func(o *Options) { o.Eval = []string{"a"}; o.EvalEach = true },
		"apart":    func(o *Options) { o.TrainEach = true },
		"mixer":    func(o *Options) { o.Mixer = []string{"a"} },
		"val":      func(o *Options) { o.ValSize = .1 },
		"val seed": func(o *Options) { o.ValSize = .1; o.Seed = 8 },
		"max":      func(o *Options) { o.MaxSamples = 3 },
		"mix":      func(o *Options) { o.Mix = dataset.InterleaveOver },
		"stage":    func(o *Options) { o.Pretrain = true },
		"stream":   func(o *Options) { o.Streaming = true },
		"buffer":   func(o *Options) { o.Streaming = true; o.BufferSize = 9 },
		"template": func(o *Options) {
			system := "Be brief."
			o.Template, _ = o.Template.With(template.Options{DefaultSystem: &system})
		},
		"tokenizer": func(o *Options) { o.Tokenizer.AddTokens("w1") },
		"entry": func(o *Options) {
			o.Info = []byte(strings.Replace(info, `"a.jsonl"`, `"a.jsonl","columns":{"prompt":"instruction","response":"output"}`, 1))
		},
	} {
		k := key(name, options(t, dir, change))
		if other, dup := keys[k]; dup {
			t.Errorf("%s has the key of %s", name, other)
		}
		keys[k] = name
	}
	if k := key("seed", options(t, dir, func(o *Options) { o.Seed = 9; o.Process.Threads = 1; o.Process.Workers = 5 })); k != base {
		t.Error("a seed, threads and workers that decide nothing change the key")
	}
	if err := os.WriteFile(filepath.Join(dir, "a.jsonl"), []byte(`{"instruction":"x","input":"","output":"y"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if key("file", options(t, dir, nil)) == base {
		t.Error("another file has the same key")
	}
}

// An interrupted tokenisation leaves nothing that the next one would mistake for data, and the
// remains of a killed one are removed.
func TestInterrupted(t *testing.T) {
	o := options(t, folderOf(t), nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Load(ctx, o); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "interrupted while tokenising") {
		t.Fatal(err)
	}
	tokenized := filepath.Join(o.Dir, "tokenized")
	killed := filepath.Join(tokenized, ".tmp-other-1")
	if err := os.Mkdir(killed, 0o755); err != nil {
		t.Fatal(err)
	}
	running, err := storage.Begin(tokenized, "other")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Load(context.Background(), o)
	if err != nil || d.Found {
		t.Fatal(err)
	}
	defer d.Close()
	entries, err := os.ReadDir(tokenized)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: want the cache and what another program is writing", entries, err)
	}
	if err := running.Abort(); err != nil {
		t.Error(err)
	}
}

func TestTokenizedPath(t *testing.T) {
	dir := folderOf(t)
	kept := filepath.Join(t.TempDir(), "kept")
	o := options(t, dir, func(o *Options) { o.Path = kept; o.ValSize = 8 })
	made, err := Load(context.Background(), o)
	if err != nil || made.Found || made.Path != kept {
		t.Fatal(err)
	}
	defer made.Close()
	// From here on the other data arguments have no effect.
	o.DatasetDir, o.Train, o.ValSize = t.TempDir(), nil, 0
	read, err := Load(context.Background(), o)
	if err != nil || !read.Found || read.Key != made.Key {
		t.Fatal(err)
	}
	defer read.Close()
	same(t, "read", read.Train, made.Train)
	same(t, "read eval", read.Eval[0].Examples, made.Eval[0].Examples)
}

// Each refusal names the folder or key and says what to do.
func TestRefusals(t *testing.T) {
	dir := folderOf(t)
	holds := func(name, text string) string {
		path := t.TempDir()
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	future, _ := json.Marshal(manifest{Format: formatName, Version: 9})
	large := filepath.Join(t.TempDir(), "large")
	d, err := Load(context.Background(), options(t, dir, func(o *Options) { o.Path = large; o.Tokenizer.AddTokens("w1", "w2") }))
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	for want, change := range map[string]func(*Options){
		"tokenized_path: |is an Arrow folder that LLaMA-Factory saved|dataset_dict.json|does not exist yet": func(o *Options) { o.Path = holds("dataset_dict.json", "{}") },
		"tokenized_path: |data-0.arrow|only this program's own format is read":                              func(o *Options) { o.Path = holds("data-0.arrow", "") },
		"tokenized_path: |is not empty and holds no tokenised data":                                         func(o *Options) { o.Path = holds("notes.txt", "") },
		"tokenized_path: |version 9 of the format, and this program reads 2|remove this one":                func(o *Options) { o.Path = holds(storage.ManifestFile, string(future)) },
		"tokenized_path: |made with another tokenizer":                                                      func(o *Options) { o.Path = large },
		"tokenized_path: |turn off `streaming` when saving a dataset to disk":                               func(o *Options) { o.Path = filepath.Join(dir, "new"); o.Streaming = true },
		"dataset: |Undefined dataset x|dataset_info.json":                                                   func(o *Options) { o.Train = []string{"x"} },
		"eval_dataset: |Undefined dataset y":                                                                func(o *Options) { o.Eval = []string{"y"} },
		"dataset_dir: |Cannot open":                                                                         func(o *Options) { o.DatasetDir = "/nowhere" },
		"dataset: |no dataset is named":                                                                     func(o *Options) { o.Train = nil },
		"val_size: |takes 160 of 160 samples":                                                               func(o *Options) { o.ValSize = 160 },
		"val_size: |takes all of the 160 samples":                                                           func(o *Options) { o.ValSize, o.Streaming = 160, true },
		"val_size: |name an eval_dataset instead":                                                           func(o *Options) { o.TrainEach, o.ValSize = true, 5 },
		"dataset: |Cannot find valid samples":                                                               func(o *Options) { o.Train = []string{"t"} },
		"dataset: |Cannot find sufficient samples":                                                          func(o *Options) { o.Train, o.Pretrain, o.Process.CutoffLen = []string{"t"}, true, 100000 },
		"eval_dataset: |dataset c: column 'text' is missing": func(o *Options) {
			o.Eval = []string{"c"}
			o.Info = []byte(strings.Replace(info, `"t":{`, `"c":{"file_name":"b.json","columns":{"prompt":"text"}},"t":{`, 1))
		},
		"cutoff_len is 0": func(o *Options) { o.Process.CutoffLen = 0 },
	} {
		_, err := Load(context.Background(), options(t, dir, change))
		for _, part := range strings.Split(want, "|") {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v\nlacks %q", err, part)
			}
		}
	}
}

// The result does not depend on the number of goroutines.
func TestThreads(t *testing.T) {
	dir := folderOf(t)
	var first []data.Example
	for _, threads := range []int{1, 2, 7} {
		packing := true
		o := options(t, dir, func(o *Options) {
			o.Process = processor.Options{CutoffLen: 64, Packing: &packing, Workers: 3, BatchSize: 20, Threads: threads}
		})
		d, err := Load(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if first == nil {
			first = d.Train
		}
		same(t, fmt.Sprint(threads, " threads"), d.Train, first)
	}
}
