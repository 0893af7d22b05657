package board

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/data/yamlfile"
)

// pretends in the environment makes this test binary a simulated run, which only holds its
// folder's lock until it is asked to end.
const pretends = "DATAFLEX_TEST_PRETENDS"

func TestMain(m *testing.M) {
	if os.Getenv(pretends) == "" {
		os.Exit(m.Run())
	}
	os.Exit(pretend(os.Args[len(os.Args)-1]))
}

func pretend(file string) (code int) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, os.Interrupt)
	root, err := yamlfile.Load(file)
	if err != nil {
		panic(err)
	}
	e, _ := root.Get("output_dir")
	if err := os.MkdirAll(e.Value.Str, 0o755); err != nil {
		panic(err)
	}
	lock, err := storage.TakeLock(filepath.Join(e.Value.Str, storage.LockFile))
	if held := (*storage.Held)(nil); errors.As(err, &held) {
		fmt.Println("error: another run writes there:", held)
		return 1
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(e.Value.Str, name), []byte(text), 0o644); err != nil {
			panic(err)
		}
	}
	write("trainer_log.jsonl", "{\"current_steps\": 3, \"total_steps\": 10, \"loss\": 2.5, \"epoch\": 0.3, \"percentage\": 30.0, \"elapsed_time\": \"0:00:03\", \"remaining_time\": \"0:00:07\"}\n")
	<-asked
	write("saved", "yes")
	fmt.Println("interrupted; the checkpoint is complete")
	if err := lock.Release(); err != nil {
		panic(err)
	}
	return 130
}

// keysAlone checks a configuration's keys.
func keysAlone(_ context.Context, file string) (faults []error, notices []string) {
	c, err := config.Load(file, nil)
	var many config.Faults
	if errors.As(err, &many) {
		return many, nil
	}
	if err != nil {
		return []error{err}, nil
	}
	return nil, c.Notices()
}

// a board that answers until stop is called.
type serving struct {
	*Board
	t    *testing.T
	base string // with the token
	stop func()
}

func serve(t *testing.T, o Options) *serving {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Check == nil {
		o.Check = keysAlone
	}
	o.Program, o.Every = []string{os.Args[0], "train"}, 10*time.Millisecond
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var g task.Group
	g.Go(func() {
		if err := b.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	s := &serving{Board: b, t: t, base: b.Address, stop: func() { cancel(); g.Wait() }}
	t.Cleanup(func() {
		s.stop()
		for _, j := range s.jobs { // of a test that failed before it stopped them
			if p, err := os.FindProcess(j.Process.PID); err == nil && j.running() {
				_ = p.Kill()
			}
		}
	})
	return s
}

func (s *serving) get(path string) (status int, body string) {
	s.t.Helper()
	answer, err := http.Get(s.base + path)
	if err != nil {
		s.t.Fatal(err)
	}
	return readAll(s.t, answer)
}

func readAll(t *testing.T, answer *http.Response) (int, string) {
	t.Helper()
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(raw)
}

func (s *serving) post(path string, body any) (int, string) {
	s.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, s.base+path, bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "http://"+s.listener.Addr().String())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return readAll(s.t, answer)
}

// until waits for another process's effect.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

// raw sends a literal request, as no client would.
func (s *serving) raw(request string) (status int, header http.Header, body string) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	request = strings.NewReplacer("TOKEN", s.token, "HERE", s.listener.Addr().String(), "\n", "\r\n").Replace(request)
	if _, err := io.WriteString(c, request+"\r\nConnection: close\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	status, body = readAll(s.t, answer)
	return status, answer.Header, body
}

// recorded puts a recorded run into a folder.
func recorded(t *testing.T, name, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(filepath.Join("../page/testdata/runs", name))); err != nil {
		t.Fatal(err)
	}
}

// TestWhoIsLetIn: without the token, for another host or from another page, the response is
// empty, without even a reason.
func TestWhoIsLetIn(t *testing.T) {
	dir := t.TempDir()
	recorded(t, "static", filepath.Join(dir, "static"))
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	for _, c := range []struct {
		request string
		status  int
	}{
		{"GET /TOKEN/ HTTP/1.1\nHost: HERE", 200},
		{"GET /TOKEN/ HTTP/1.1\nHost: localhost:8888", 200}, // through a tunnel
		{"GET /TOKEN/keys HTTP/1.1\nHost: HERE\nOrigin: http://HERE", 200},
		{"GET / HTTP/1.1\nHost: HERE", 403},
		{"GET /index.html HTTP/1.1\nHost: HERE", 403},
		{"GET /" + strings.Repeat("0", 64) + "/ HTTP/1.1\nHost: HERE", 403},
		{"GET /TOKEN0/ HTTP/1.1\nHost: HERE", 403},
		{"GET /" + s.token[:63] + "/ HTTP/1.1\nHost: HERE", 403},
		{"GET /?token=TOKEN HTTP/1.1\nHost: HERE", 403},
		{"GET /x/../TOKEN/ HTTP/1.1\nHost: HERE", 403},
		{"GET //TOKEN/ HTTP/1.1\nHost: HERE", 403},
		{"GET /TOKEN/ HTTP/1.1\nHost: evil.example", 403},
		{"GET /TOKEN/ HTTP/1.1\nHost: 127.0.0.1.evil.example:80", 403},
		{"GET /TOKEN/ HTTP/1.1\nHost: ", 403},
		{"GET /TOKEN/keys HTTP/1.1\nHost: HERE\nOrigin: http://evil.example", 403},
		{"GET /TOKEN/keys HTTP/1.1\nHost: HERE\nOrigin: null", 403},
		{"GET /TOKEN/keys HTTP/1.1\nHost: HERE\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors", 403},
		{"GET /TOKEN/ HTTP/1.1\nHost: HERE\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", 200},
		{"POST /TOKEN/check HTTP/1.1\nHost: HERE\nContent-Length: 0", 403}, // of no page
		{"POST /TOKEN/check HTTP/1.1\nHost: HERE\nOrigin: http://127.0.0.1:1\nContent-Length: 0", 403},
		{"POST /TOKEN/check HTTP/1.1\nHost: HERE\nOrigin: https://HERE\nContent-Length: 0", 403},
		{"POST /TOKEN/check HTTP/1.1\nHost: HERE\nOrigin: http://HERE\nContent-Type: text/plain\nContent-Length: 0", 415},
		{"GET /TOKEN/start HTTP/1.1\nHost: HERE", 405},
		{"POST /TOKEN/keys HTTP/1.1\nHost: HERE\nOrigin: http://HERE\nContent-Length: 0", 405},
		{"DELETE /TOKEN/ HTTP/1.1\nHost: HERE\nOrigin: http://HERE", 405},
		{"GET /TOKEN/nothing HTTP/1.1\nHost: HERE", 404},
	} {
		status, header, body := s.raw(c.request)
		if status != c.status || status/100 == 4 && status != 415 && body != "" {
			t.Errorf("%s: %d, not %d; %.80q", c.request, status, c.status, body)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" || !strings.Contains(header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: %v", c.request, header)
		}
	}
	_, header, _ := s.raw("GET /TOKEN/ HTTP/1.1\nHost: HERE")
	policy := header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; script-src 'sha256-") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "connect-src 'self'") || !strings.Contains(policy, "form-action 'none'") {
		t.Errorf("policy: %s", policy)
	}
}

// TestNothingOutside: whatever a request contains and whatever is in the folder, nothing
// outside is read.
func TestNothingOutside(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	secret := `{"current_steps": 1, "total_steps": 2, "loss": 1.0, "secret": "SECRET-7"}` + "\n"
	for path, text := range map[string]string{
		filepath.Join(outside, "run", "trainer_log.jsonl"): secret,
		filepath.Join(outside, "secret"):                   secret,
		filepath.Join(dir, "own", "trainer_log.jsonl"):     strings.Replace(secret, "SECRET-7", "fine", 1),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{
		filepath.Join(dir, "linked"):                      filepath.Join(outside, "run"),
		filepath.Join(dir, "own", "report_data.jsonl"):    filepath.Join(outside, "secret"),
		filepath.Join(dir, "own", "checkpoint-1"):         outside,
		filepath.Join(dir, "within", "trainer_log.jsonl"): filepath.Join(dir, "own", "trainer_log.jsonl"),
	} {
		if err := os.MkdirAll(filepath.Dir(from), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, from); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	for _, path := range []string{
		"", "?run=own", "?run=linked", "?run=../run", "?run=" + outside + "/run", "?run=own/../../run", "?run=%2e%2e%2frun", "?run=..%5crun",
		"log?job=../../secret", "log?job=" + outside + "/secret", "draft?from=linked", "draft?from=../run", "draft?from=" + outside, "compare?table=../../secret&run=own",
	} {
		if _, body := s.get(path); strings.Contains(body, "SECRET-7") {
			t.Errorf("%s gives what lies outside", path)
		}
	}
	for _, path := range []string{"/../secret", "/..%2fsecret", "/%2e%2e/secret", "//" + outside + "/secret", "/" + outside + "/secret", "/own/trainer_log.jsonl", "/own"} {
		if status, _, body := s.raw("GET /TOKEN" + path + " HTTP/1.1\nHost: HERE"); status != 404 || body != "" {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	if _, body := s.get("?run=own"); !strings.Contains(body, "report_data.jsonl leads out of the board's folder") || strings.Contains(body, `"name":"linked"`) {
		t.Error("the run whose file leads out, or the folder that does, is not refused")
	}
	// The output folder of a new run must be inside the folder, also behind a link.
	for _, out := range []string{outside + "/new", filepath.Join(dir, "linked", "new"), dir, dir + "/../new", dir + "/.hidden/new"} {
		_, body := s.post("check", configuration{YAML: "output_dir: " + out + "\n" + least})
		if !strings.Contains(body, `"key":"output_dir"`) {
			t.Errorf("%s: %s", out, body)
		}
	}
}

// least is the minimal configuration besides its output_dir.
const least = "model_name_or_path: m\nstage: sft\ndo_train: true\ndataset: d\ntemplate: chatml\nfinetuning_type: lora\n"
