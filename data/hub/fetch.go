package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // git's name of a file, not a secret
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tries is how often a request is made before its failure is reported.
const tries = 5

// fetch downloads a file's blob, unless it is in the cache.
func (r *remote) fetch(ctx context.Context, commit string, f file) (before bool, err error) {
	blob := filepath.Join(r.folder, "blobs", f.sum())
	if info, err := os.Stat(blob); err == nil && info.Size() == f.Size {
		return true, nil
	}
	part := blob + ".incomplete"
	prefix := ""
	if r.Kind == Datasets {
		prefix = "datasets/"
	}
	address := r.endpoint + "/" + prefix + r.Name + "/resolve/" + commit + "/" + escapePath(f.Path)
	if err := r.body(ctx, address, part, f.Size); err != nil {
		return false, err
	}
	sum, err := checksum(part, f)
	if err != nil {
		return false, err
	}
	if sum != f.sum() {
		return false, errors.Join(fmt.Errorf("the download has the checksum %s, the hub's is %s: it was discarded; try again", sum, f.sum()), os.Remove(part))
	}
	return false, os.Rename(part, blob)
}

func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i, s := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(s, "%", "%25"), "?", "%3F"), "#", "%23"), " ", "%20")
	}
	return strings.Join(parts, "/")
}

// body appends an address's bytes to part, which may hold the beginning from an earlier try.
func (r *remote) body(ctx context.Context, address, part string, size int64) error {
	out, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	have, err := out.Seek(0, io.SeekEnd)
	if err == nil && have > size {
		have, err = 0, out.Truncate(0)
	}
	for fruitless := 0; err == nil && have < size; {
		before := have
		err = r.try(ctx, address, have, func(resp *http.Response) (err error) {
			have, err = receive(resp, out, have, size)
			return err
		})
		var c *cut
		if errors.As(err, &c) && ctx.Err() == nil {
			if fruitless++; have > before {
				fruitless = 0
			}
			if fruitless < tries {
				err = nil
			}
		}
	}
	if err == nil && have != size {
		err = fmt.Errorf("received %d bytes, expected %d", have, size)
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// receive writes a response's bytes after the first `have` ones, or over them where the hub
// sends the whole file again, and returns how many bytes there are then.
func receive(resp *http.Response, out *os.File, have, size int64) (int64, error) {
	if resp.StatusCode != http.StatusPartialContent {
		have = 0
	} else if !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(have, 10)+"-") {
		return have, fmt.Errorf("asked for the bytes from %d on, the hub sent %s", have, resp.Header.Get("Content-Range"))
	}
	if err := out.Truncate(have); err != nil {
		return have, err
	}
	n, err := io.Copy(io.NewOffsetWriter(out, have), io.LimitReader(resp.Body, size-have+1))
	if disk := (*os.PathError)(nil); err != nil && !errors.As(err, &disk) {
		err = &cut{err}
	}
	return have + n, err
}

// cut is a response that was cut off.
type cut struct{ error }

func (e *cut) Unwrap() error { return e.error }

// busy means no response, or one that says to try again later.
type busy struct {
	error
	wait time.Duration // as the hub asks
}

func (e *busy) Unwrap() error { return e.error }

// try requests an address, from a byte on, and passes the response to take. Where there is none
// it tries again, after pauses.
func (r *remote) try(ctx context.Context, address string, from int64, take func(*http.Response) error) error {
	wait := r.Wait
	for i := 1; ; i++ {
		err := r.once(ctx, address, from, take)
		var b *busy
		if err == nil || ctx.Err() != nil || !errors.As(err, &b) || i == tries {
			return err
		}
		pause := time.NewTimer(max(wait, b.wait))
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
		wait *= 2
	}
}

func (r *remote) once(ctx context.Context, address string, from int64, take func(*http.Response) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "dataflex")
	req.Header.Set("Accept-Encoding", "identity") // checksums are of the stored bytes
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token) // net/http leaves it out where a redirect leads to another host
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := r.client.Do(req)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		return &busy{error: fmt.Errorf("%w: is there a network? HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror; a folder that is copied here and named by its path needs no download", err)}
	}
	defer resp.Body.Close()
	if err := r.status(resp); err != nil {
		return err
	}
	return take(resp)
}

// status turns an unsuccessful response into an error that says what the user can do.
func (r *remote) status(resp *http.Response) error {
	what := r.Name
	if r.Revision != DefaultRevision {
		what += " at revision " + r.Revision
	}
	switch code := resp.StatusCode; {
	case code == http.StatusOK || code == http.StatusPartialContent:
		return nil
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		if r.token != "" {
			return fmt.Errorf("%s does not let your token read %s: accept its conditions on its page, or use a token that may (HF_TOKEN)", r.endpoint, what)
		}
		return fmt.Errorf("%s has no public %s: check the name; for a private or gated one set HF_TOKEN", r.endpoint, what)
	case code == http.StatusNotFound:
		return fmt.Errorf("%s has no %s: check the name and --revision; data sets need --dataset, private repositories HF_TOKEN", r.endpoint, what)
	case code == http.StatusTooManyRequests || code >= 500:
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil || seconds < 0 {
			seconds = 0
		}
		return &busy{fmt.Errorf("%s answers %s", r.endpoint, resp.Status), time.Duration(min(seconds, 300)) * time.Second}
	default:
		return fmt.Errorf("%s answers %s", r.endpoint, resp.Status)
	}
}

// checksum is the file's checksum in the hub's form.
func checksum(path string, f file) (string, error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	var h hash.Hash = sha256.New()
	if f.LFS == nil {
		h = sha1.New() //nolint:gosec // as above
		fmt.Fprintf(h, "blob %d\x00", f.Size)
	}
	if _, err := io.Copy(h, in); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
