package train_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/storage"
)

// readOnly is a file system that is mounted read-only.
type readOnly struct{ storage.FS }

func (r readOnly) OpenFile(name string, flag int, perm fs.FileMode) (storage.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
	}
	return r.FS.OpenFile(name, flag, perm)
}

// TestReadOnlyCache: a selection is read from a cache_dir that only others may write; one that
// is not there cannot be made, and the error names the folder.
func TestReadOnlyCache(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cache := filepath.Join(f.dir, "cache")
	f.write("components.yaml", "selectors:\n  it: {name: loss, params: {cache_dir: "+cache+"}}\n")
	args := func(out string, more ...string) []string {
		return append([]string{"train_type=dynamic_select", "component_name=it", "output_dir=" + filepath.Join(f.dir, out)}, more...)
	}
	f.must(args("first")...)
	// upstream's names are of the run that was last: they differ here, and cannot be replaced
	f.write("cache/step_2.json", "of another run")
	t.Cleanup(storage.Mount(cache, readOnly{storage.OS}))

	log, err := f.said(train.Options{}, args("second")...)
	if err != nil || !strings.Contains(log, "read from disk") {
		t.Errorf("%v\n%s", err, log)
	}
	var rows [2]string
	for i, out := range []string{"first", "second"} {
		rows[i] = lines(t, filepath.Join(f.dir, out, "selected_rows.jsonl"))
	}
	if rows[0] == "" || rows[0] != rows[1] {
		t.Errorf("the rows differ:\n%s\n%s", rows[0], rows[1])
	}
	if err := f.run(args("third", "seed=7")...); err == nil || !strings.Contains(err.Error(), cache) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("another seed: %v", err)
	}
}
