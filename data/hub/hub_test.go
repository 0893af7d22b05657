package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// server is a hub with one repository; large files are stored as in LFS.
type server struct {
	*httptest.Server
	files map[string]string
	large map[string]bool
	fail  func(w http.ResponseWriter, r *http.Request) bool // responds instead of the hub
	asked []string
	auth  []string
}

func newServer(t *testing.T, files map[string]string, large ...string) *server {
	t.Helper()
	s := &server{files: files, large: map[string]bool{}}
	for _, f := range large {
		s.large[f] = true
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "MODELSCOPE_CACHE", "USE_MODELSCOPE_HUB"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("HF_ENDPOINT", s.URL)
	return s
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r.URL.Path+" "+r.Header.Get("Range"))
	s.auth = append(s.auth, r.Header.Get("Authorization"))
	if s.fail != nil && s.fail(w, r) {
		return
	}
	_, file, ok := strings.Cut(r.URL.Path, "/resolve/"+commit+"/")
	switch {
	case ok:
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(s.files[file]))
	case strings.HasSuffix(r.URL.Path, "/revision/main"):
		fmt.Fprintf(w, `{"sha":%q}`, commit)
	case strings.HasSuffix(r.URL.Path, "/tree/"+commit):
		s.tree(w, r)
	default:
		http.NotFound(w, r)
	}
}

// tree lists the files, one a page.
func (s *server) tree(w http.ResponseWriter, r *http.Request) {
	var names []string
	for name := range s.files {
		names = append(names, name)
	}
	slices.Sort(names)
	i := 0
	fmt.Sscanf(r.URL.Query().Get("cursor"), "%d", &i)
	if i+1 < len(names) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, s.URL, r.URL.Path, i+1))
	}
	text := s.files[names[i]]
	entry := map[string]any{"type": "file", "path": names[i], "size": len(text), "oid": gitSum(text)}
	if s.large[names[i]] {
		entry["lfs"] = map[string]any{"oid": sum256(text), "size": len(text)}
	}
	json.NewEncoder(w).Encode([]any{map[string]any{"type": "directory", "path": "d", "oid": commit}, entry})
}

func gitSum(text string) string {
	h := sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(text), text)))
	return hex.EncodeToString(h[:])
}

func sum256(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

func download(o DownloadOptions) (string, error) {
	o.Name, o.Wait = "org/name", time.Microsecond
	return Download(context.Background(), o)
}

var model = map[string]string{
	"config.json": "{}", "model.safetensors": strings.Repeat("weights", 1000), "pytorch_model.bin": "pickle", "original/model.safetensors": "again", "a b#%.txt": "odd name", "empty": "",
}

// TestDownload: the cache has huggingface_hub's layout, is found under the model's name, and a
// second download fetches nothing.
func TestDownload(t *testing.T) {
	s := newServer(t, model, "model.safetensors")
	dir, err := download(DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(os.Getenv("HF_HOME"), "hub", "models--org--name")
	if dir != filepath.Join(repo, "snapshots", commit) {
		t.Errorf("the snapshot is %s", dir)
	}
	for name, want := range model {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if name == "pytorch_model.bin" || strings.HasPrefix(name, "original/") {
			if err == nil {
				t.Errorf("%s was fetched beside safetensors", name)
			}
			continue
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	link, err := os.Readlink(filepath.Join(dir, "model.safetensors"))
	if want := filepath.Join("..", "..", "blobs", sum256(model["model.safetensors"])); err != nil || link != want {
		t.Errorf("model.safetensors leads to %s, %v", link, err)
	}
	if link, _ := os.Readlink(filepath.Join(dir, "config.json")); filepath.Base(link) != "9e26dfeeb6e641a33dae4961196235bdb965b21b" { // git hash-object of "{}"
		t.Errorf("config.json leads to %s", link)
	}
	if ref, err := os.ReadFile(filepath.Join(repo, "refs", "main")); err != nil || string(ref) != commit {
		t.Errorf("refs/main: %s, %v", ref, err)
	}
	if got, err := Model("org/name", "", ""); err != nil || got != dir || NameOf(got) != "org/name" {
		t.Errorf("found %s, %v", got, err)
	}
	s.asked = nil
	if _, err := download(DownloadOptions{Report: func(f string, _ int64, before bool) {
		if !before {
			t.Errorf("%s came again", f)
		}
	}}); err != nil {
		t.Fatal(err)
	}
	for _, a := range s.asked {
		if strings.Contains(a, "/resolve/") {
			t.Errorf("the second download asked for %s", a)
		}
	}
	if dir, err = download(DownloadOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "original", "model.safetensors")); err != nil {
		t.Error(err)
	}
}

// TestInterrupted: after a broken connection, or a busy hub, the download is retried after a
// pause; an abandoned download continues where it stopped.
func TestInterrupted(t *testing.T) {
	s := newServer(t, model, "model.safetensors")
	text := model["model.safetensors"]
	breaks, busy := 2, 2
	s.fail = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "config.json") && busy > 0:
			busy--
			w.WriteHeader(http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, "/model.safetensors") && breaks > 0:
			breaks--
			from := 0
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			w.Header().Set("Content-Length", fmt.Sprint(len(text)-from))
			if from > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(text)-1, len(text)))
				w.WriteHeader(http.StatusPartialContent)
			}
			w.Write([]byte(text[from : from+1000]))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		default:
			return false
		}
		return true
	}
	dir, err := download(DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "model.safetensors")); err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for _, want := range []string{"bytes=1000-", "bytes=2000-"} {
		if !slices.ContainsFunc(s.asked, func(a string) bool { return strings.HasSuffix(a, "model.safetensors "+want) }) {
			t.Errorf("never went on at %s: %q", want, s.asked)
		}
	}

	blob := filepath.Join(os.Getenv("HF_HOME"), "hub", "models--org--name", "blobs", sum256(text))
	if err := os.Rename(blob, blob+".incomplete"); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blob+".incomplete", 5); err != nil {
		t.Fatal(err)
	}
	s.asked = nil
	if _, err := download(DownloadOptions{}); err != nil || !slices.ContainsFunc(s.asked, func(a string) bool { return strings.HasSuffix(a, " bytes=5-") }) {
		t.Errorf("%v, asked %q", err, s.asked)
	}
}

// TestChecksum: bytes with another checksum than the hub's are not stored, whether files are
// small or large.
func TestChecksum(t *testing.T) {
	for _, name := range []string{"config.json", "model.safetensors"} {
		s := newServer(t, model, "model.safetensors")
		s.fail = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/"+name) {
				return false
			}
			w.Write([]byte(strings.Repeat("x", len(model[name]))))
			return true
		}
		_, err := download(DownloadOptions{})
		if err == nil || !strings.Contains(err.Error(), name+" of org/name: the download has the checksum") {
			t.Errorf("%s: %v", name, err)
		}
		left, _ := filepath.Glob(filepath.Join(os.Getenv("HF_HOME"), "hub", "*", "blobs", "*.incomplete"))
		if left != nil {
			t.Errorf("%s: kept %v", name, left)
		}
		if _, err := Model("org/name", "", ""); err == nil {
			t.Errorf("%s: found, though it is incomplete", name)
		}
	}
}

// TestToken: the token is sent only to the hub and only encrypted, and is never shown.
func TestToken(t *testing.T) {
	s := newServer(t, model, "model.safetensors")
	const secret = "hf_secret"
	t.Setenv("HF_TOKEN", secret)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token was sent to another host")
		}
		w.Write([]byte(model["model.safetensors"]))
	}))
	defer elsewhere.Close()
	s.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/model.safetensors") {
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)+"/x", http.StatusFound)
			return true
		}
		return false
	}
	if _, err := download(DownloadOptions{}); err != nil {
		t.Fatal(err)
	}
	if s.auth[0] != "Bearer "+secret {
		t.Errorf("the hub got %q", s.auth[0])
	}
	t.Setenv("HF_ENDPOINT", "http://hub.example")
	if _, err := download(DownloadOptions{}); err == nil || !strings.Contains(err.Error(), "is not https") || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
	for code, want := range map[int]string{403: "does not let your token read org/name", 404: "has no org/name: check the name", 400: "400 Bad Request"} {
		s := newServer(t, model)
		t.Setenv("HF_TOKEN", secret)
		s.fail = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true }
		if _, err := download(DownloadOptions{}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

// TestHostile: a hub cannot write outside its folder.
func TestHostile(t *testing.T) {
	for _, name := range []string{"../../evil", "/evil", `..\evil`, "a/../../evil"} {
		newServer(t, map[string]string{name: "x"})
		if _, err := download(DownloadOptions{}); err == nil || !strings.Contains(err.Error(), "outside the repository") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "a/b/c", "../x", "a/..", "a b/c", "a--b/c", "https://x/y"} {
		if _, err := Download(context.Background(), DownloadOptions{Name: name}); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	if _, err := download(DownloadOptions{}); err == nil || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Error(err)
	}
}

// TestModel: the places and revisions in which models are found.
func TestModel(t *testing.T) {
	newServer(t, nil)
	home := os.Getenv("HF_HOME")
	put := func(path ...string) string {
		p := filepath.Join(path...)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(p)
	}
	want := func(dir, name, revision, cache string) {
		t.Helper()
		if got, err := Model(name, revision, cache); err != nil || got != dir {
			t.Errorf("%s at %s: %s, %v", name, revision, got, err)
		}
	}
	other := "fedcba9876543210fedcba9876543210fedcba98"
	one := put(home, "hub", "models--Qwen--Qwen2.5-0.5B", "snapshots", commit, "config.json")
	want(one, "Qwen/Qwen2.5-0.5B", "", "") // the only one, though there is no refs/main
	two := put(home, "hub", "models--Qwen--Qwen2.5-0.5B", "snapshots", other, "config.json")
	if _, err := Model("Qwen/Qwen2.5-0.5B", "", ""); err == nil {
		t.Error("two snapshots and no refs/main, and yet one was chosen")
	}
	put(home, "hub", "models--Qwen--Qwen2.5-0.5B", "refs", "main")
	for ref, c := range map[string]string{"main": commit, "v2": other + "\n"} {
		if err := os.WriteFile(filepath.Join(home, "hub", "models--Qwen--Qwen2.5-0.5B", "refs", ref), []byte(c), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want(one, "Qwen/Qwen2.5-0.5B", "", "")
	want(two, "Qwen/Qwen2.5-0.5B", "v2", "")
	want(two, "Qwen/Qwen2.5-0.5B", other, "")
	want(two, "Qwen/Qwen2.5-0.5B", other[:8], "")
	var missing *NotCached
	if _, err := Model("Qwen/Qwen2.5-0.5B", "v3", ""); !errors.As(err, &missing) || !strings.Contains(err.Error(), "`dataflex-cli download Qwen/Qwen2.5-0.5B --revision v3`") {
		t.Error(err)
	}

	cache := t.TempDir()
	want(put(cache, "models--gpt2", "snapshots", commit, "config.json"), "gpt2", "", cache)
	for _, variable := range []string{"HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"} { // the second wins
		dir := t.TempDir()
		t.Setenv(variable, dir)
		want(put(dir, "models--gpt2", "snapshots", commit, "config.json"), "gpt2", "", "")
	}

	scope := t.TempDir()
	t.Setenv("MODELSCOPE_CACHE", scope)
	old := put(scope, "hub", "Org", "A___1", "config.json")
	want(old, "Org/A.1", "", "")
	want(put(scope, "hub", "models", "Org", "A___1", "config.json"), "Org/A.1", "", "")
	want(put(scope, "models", "Org", "A___1", "config.json"), "Org/A.1", "", "")
	here := put(os.Getenv("HF_HUB_CACHE"), "models--Org--A.1", "snapshots", commit, "config.json")
	want(here, "Org/A.1", "", "")
	t.Setenv("USE_MODELSCOPE_HUB", "1")
	want(filepath.Join(scope, "models", "Org", "A___1"), "Org/A.1", "", "")

	t.Chdir(t.TempDir())
	want("Org/A.1", put("Org/A.1/config.json")+"", "", "")
}

// TestBrokenSnapshot: a dangling link is reported as an interrupted download.
func TestBrokenSnapshot(t *testing.T) {
	newServer(t, nil)
	dir := filepath.Join(os.Getenv("HF_HOME"), "hub", "models--o--n", "snapshots", commit)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../blobs/none", filepath.Join(dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Model("o/n", "", ""); err == nil || !strings.Contains(err.Error(), "is incomplete") || !strings.Contains(err.Error(), "download o/n") {
		t.Error(err)
	}
}

// TestDataFiles: which files hold a split, by README's configurations and by names.
func TestDataFiles(t *testing.T) {
	for name, c := range map[string]struct {
		readme                string
		files                 string
		subset, split, folder string
		want                  string // joined by blanks, or "error: …"
	}{
		"plain":        {"", "a.json b.json README.md", "", "train", "", "a.json b.json"},
		"by name":      {"", "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet data/test-00000-of-00001.parquet", "", "train", "", "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet"},
		"test":         {"", "train.csv test.csv training_notes.txt", "", "test", "", "test.csv"},
		"folder":       {"", "en/train.json fr/train.json", "", "train", "fr", "fr/train.json"},
		"subset":       {"", "en/train.json fr/train.json", "en", "train", "", "en/train.json"},
		"kinds":        {"", "x.parquet x.csv", "", "train", "", "x.parquet"},
		"compressed":   {"", "x.jsonl.gz", "", "train", "", "x.jsonl.gz"},
		"constraint":   {"", "constraints.json trained.json", "", "train", "", "constraints.json trained.json"},
		"other split":  {"", "a_sft.json b.json", "", "sft", "", "a_sft.json"},
		"no split":     {"", "a.json", "", "test", "", "error: no files of split test"},
		"none":         {"", "a.png", "", "train", "", "error: no data files"},
		"configs":      {"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/tr-*\n  - split: test\n    path: [x.json]\n", "data/tr-1.json data/sub/tr-2.json x.json", "", "train", "", "data/tr-1.json"},
		"configs test": {"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/tr-*\n  - split: test\n    path: [x.json]\n", "data/tr-1.json x.json", "", "test", "", "x.json"},
		"named":        {"configs:\n- config_name: a\n  default: true\n  data_files: a.json\n- config_name: b\n  data_files: '**/b.json'\n", "a.json d/b.json", "b", "train", "", "d/b.json"},
		"default":      {"configs:\n- config_name: a\n  default: true\n  data_files: a.json\n- config_name: b\n  data_files: b.json\n", "a.json b.json", "", "train", "", "a.json"},
		"no subset":    {"configs:\n- config_name: a\n  data_files: a.json\n", "a.json", "c", "train", "", "error: has no subset c; there are a"},
		"split gone":   {"configs:\n- config_name: a\n  data_files: a.json\n", "a.json", "", "test", "", "error: has no split test; there are train"},
	} {
		dir := t.TempDir()
		for f := range strings.FieldsSeq(c.files) {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if c.readme != "" {
			if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte("---\n"+c.readme+"---\n# A set\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := DataFiles(dir, c.subset, c.split, c.folder)
		if message, ok := strings.CutPrefix(c.want, "error: "); ok {
			if err == nil || !strings.Contains(err.Error(), message) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			continue
		}
		for i := range got {
			got[i], _ = filepath.Rel(dir, got[i])
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
