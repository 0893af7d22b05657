package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// DownloadOptions configure Download.
type DownloadOptions struct {
	Kind     Kind   // Models where it is ""
	Name     string // ORG/NAME
	Revision string // branch, tag or commit; "" = main
	All      bool   // other formats than safetensors, too

	// Report is called for every file once it is in the cache: its path, its size, and whether
	// it was there before. It may be nil.
	Report func(file string, size int64, before bool)

	// Waiting is called once if another process is downloading the repository, for which Download
	// waits. It may be nil.
	Waiting func(*storage.Held)

	// Wait is the pause before the first retry, doubled each time; 0 = a second.
	Wait time.Duration
}

// remote is a repository on the hub.
type remote struct {
	DownloadOptions
	endpoint string // without a slash at its end
	token    string
	client   *http.Client
	folder   string // in the cache
}

// Download fetches a snapshot of a repository into Hugging Face's cache and returns its folder:
// blobs named by their checksum, links to them under snapshots/COMMIT, and the revision under
// refs. Files in the cache are not fetched again, partial downloads are continued, and nothing
// is stored whose checksum (SHA-256, or git's SHA-1 for small files) differs from the hub's.
// Requests go to $HF_ENDPOINT, with the token of $HF_TOKEN or of huggingface-cli login.
func Download(ctx context.Context, o DownloadOptions) (dir string, err error) {
	if !IsName(o.Name) {
		return "", fmt.Errorf("%q is not the name of a repository (ORG/NAME)", o.Name)
	}
	o.Kind, o.Revision, o.Wait = cmp.Or(o.Kind, Models), cmp.Or(o.Revision, DefaultRevision), cmp.Or(o.Wait, time.Second)
	if offline() {
		return "", errors.New("HF_HUB_OFFLINE is set: nothing is fetched; unset it to download")
	}
	r := &remote{DownloadOptions: o, endpoint: strings.TrimRight(cmp.Or(os.Getenv("HF_ENDPOINT"), "https://huggingface.co"), "/"), client: newClient()}
	if err := r.authorise(); err != nil {
		return "", err
	}
	r.folder = repository(Cache(), o.Kind, o.Name)
	if err := os.MkdirAll(filepath.Join(r.folder, "blobs"), 0o755); err != nil {
		return "", err
	}
	lock, err := storage.WaitLock(ctx, filepath.Join(r.folder, ".dataflex.lock"), o.Waiting)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	return r.snapshot(ctx)
}

func offline() bool {
	v := strings.ToUpper(os.Getenv("HF_HUB_OFFLINE"))
	return v == "1" || v == "TRUE" || v == "YES" || v == "ON"
}

// newClient waits up to a minute for a response to begin; a download itself has no time limit.
func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	return &http.Client{Transport: t}
}

// authorise finds the token. It is sent over TLS only, or to this machine.
func (r *remote) authorise() error {
	u, err := url.Parse(r.endpoint)
	if err != nil || u.Host == "" {
		return fmt.Errorf("HF_ENDPOINT=%s is not an address such as https://huggingface.co", r.endpoint)
	}
	file := expand(cmp.Or(os.Getenv("HF_TOKEN_PATH"), filepath.Join(home(), "token")))
	saved, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	token := strings.TrimSpace(cmp.Or(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN"), string(saved)))
	if token == "" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("HF_ENDPOINT=%s is not https: the token is not sent there; unset HF_TOKEN, or name an https address", r.endpoint)
	}
	r.token = token
	return nil
}

// file is a file of a repository.
type file struct {
	Type string `json:"type"`
	Path string `json:"path"`
	OID  string `json:"oid"` // git's SHA-1
	Size int64  `json:"size"`
	LFS  *struct {
		OID  string `json:"oid"` // SHA-256
		Size int64  `json:"size"`
	} `json:"lfs"`
}

// sum is the file's checksum, which is the name of its blob as well.
func (f file) sum() string {
	if f.LFS != nil {
		return f.LFS.OID
	}
	return f.OID
}

var (
	commitForm = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sumForm    = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// check refuses names and checksums that would be unsafe in the cache.
func (f file) check() error {
	if !filepath.IsLocal(filepath.FromSlash(f.Path)) || strings.Contains(f.Path, `\`) {
		return fmt.Errorf("the hub names a file %q, which lies outside the repository", f.Path)
	}
	if !sumForm.MatchString(f.sum()) {
		return fmt.Errorf("the hub gives %s the invalid checksum %q", f.Path, f.sum())
	}
	return nil
}

// snapshot fetches all files of the revision.
func (r *remote) snapshot(ctx context.Context) (string, error) {
	var info struct {
		SHA string `json:"sha"`
	}
	if _, err := r.json(ctx, r.endpoint+"/api/"+string(r.Kind)+"/"+r.Name+"/revision/"+url.PathEscape(r.Revision), &info); err != nil {
		return "", err
	}
	if !commitForm.MatchString(info.SHA) {
		return "", fmt.Errorf("%s did not say which commit %s is", r.endpoint, r.Revision)
	}
	list, err := r.list(ctx, info.SHA)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(r.folder, "snapshots", info.SHA)
	for _, f := range list {
		before, err := r.fetch(ctx, info.SHA, f)
		if err != nil {
			return "", fmt.Errorf("%s of %s: %w", f.Path, r.Name, err)
		}
		if r.Report != nil {
			r.Report(f.Path, f.Size, before)
		}
	}
	for _, f := range list { // after all files, so that a partial snapshot is not taken for a complete one
		if err := r.link(dir, f); err != nil {
			return "", err
		}
	}
	if r.Revision == info.SHA {
		return dir, nil
	}
	ref := filepath.Join(r.folder, "refs", filepath.FromSlash(r.Revision))
	if err := os.MkdirAll(filepath.Dir(ref), 0o755); err != nil {
		return "", err
	}
	return dir, storage.WriteFile(ref, []byte(info.SHA))
}

// list asks for the files, page by page, and leaves out those that are not needed.
func (r *remote) list(ctx context.Context, commit string) ([]file, error) {
	var all []file
	next := r.endpoint + "/api/" + string(r.Kind) + "/" + r.Name + "/tree/" + commit + "?recursive=true"
	for next != "" {
		var page []file
		var err error
		if next, err = r.json(ctx, next, &page); err != nil {
			return nil, err
		}
		all = append(all, page...)
	}
	all = slices.DeleteFunc(all, func(f file) bool { return f.Type != "file" })
	if r.Kind == Models && !r.All {
		all = useful(all)
	}
	for _, f := range all {
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no files", r.Name)
	}
	return all, nil
}

// useful leaves out weights in other formats where there are safetensors, and folders of such
// weights.
func useful(all []file) []file {
	top := func(f file) bool { return !strings.Contains(f.Path, "/") }
	if !slices.ContainsFunc(all, func(f file) bool { return top(f) && path.Ext(f.Path) == ".safetensors" }) {
		return all
	}
	others := []string{".bin", ".pth", ".pt", ".ckpt", ".msgpack", ".h5", ".onnx", ".gguf", ".ot", ".onnx_data", ".tflite", ".mlmodel"}
	return slices.DeleteFunc(all, func(f file) bool {
		return slices.Contains(others, path.Ext(f.Path)) || !top(f) && path.Ext(f.Path) == ".safetensors"
	})
}

var nextPage = regexp.MustCompile(`<([^>]+)>;\s*rel="next"`)

// json requests JSON and returns the address of the next page, "" if there is none.
func (r *remote) json(ctx context.Context, address string, into any) (next string, err error) {
	err = r.try(ctx, address, 0, func(resp *http.Response) error {
		if m := nextPage.FindStringSubmatch(resp.Header.Get("Link")); m != nil {
			next = m[1]
		}
		const most = 64 << 20
		return json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(into)
	})
	if next != "" && !strings.HasPrefix(next, r.endpoint+"/") {
		return "", fmt.Errorf("%s continues its list at another address, %s", r.endpoint, next)
	}
	return next, err
}

// link makes the snapshot's file a symbolic link to its blob, or a hard link where symbolic
// links are not available.
func (r *remote) link(dir string, f file) error {
	name := filepath.Join(dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	blob := filepath.Join(r.folder, "blobs", f.sum())
	target, err := filepath.Rel(filepath.Dir(name), blob)
	if err != nil {
		return err
	}
	if have, err := os.Readlink(name); err == nil && have == target {
		return nil
	}
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	if err := os.Symlink(target, name); err != nil {
		return os.Link(blob, name)
	}
	return nil
}
