package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/storage/memfs"
)

const selectionKey = "0123456789abcdef0123456789abcdef0123"

// paid is a judge that answers 0.1 to its first question, 0.2 to its second and so on, and
// fails at those in fails.
type paid struct {
	*httptest.Server
	asked []string
	fails int // the question at which it fails, counted from 1; 0 for none
}

func newPaid(t *testing.T) *paid {
	p := &paid{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Messages []struct{ Content string } }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		if len(p.asked)+1 == p.fails {
			http.Error(w, "out of credit", http.StatusPaymentRequired)
			return
		}
		p.asked = append(p.asked, q.Messages[0].Content)
		fmt.Fprintf(w, `{"choices": [{"message": {"content": "%d/10"}}]}`, len(p.asked))
	}))
	t.Cleanup(p.Close)
	return p
}

// ask is one attempt to judge the answers, with the kept ones in dir.
func (p *paid) ask(t *testing.T, dir, key string, answers ...string) (rewards []float64, log string, err error) {
	t.Helper()
	var out bytes.Buffer
	kept := KeepIn(dir, key, slog.New(slog.NewTextHandler(&out, nil)))
	h := HTTP{URL: p.URL, Timeout: 10 * time.Second, Prompt: "{answer}"}
	rewards, err = h.Keep(kept).Score(context.Background(), cases(answers...))
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	return rewards, out.String(), err
}

func cases(answers ...string) (all []Case) {
	for _, a := range answers {
		all = append(all, Case{Answer: a})
	}
	return all
}

// TestKeptAnswers lets a judge fail in the middle: the next attempt asks only for the rest.
// Equal answers are asked about one by one, as without a failure.
func TestKeptAnswers(t *testing.T) {
	dir, p := filepath.Join(t.TempDir(), "cache"), newPaid(t)
	p.fails = 4
	if _, _, err := p.ask(t, dir, selectionKey, "a", "b", "a", "c", "a"); err == nil || !strings.Contains(err.Error(), "out of credit") {
		t.Fatalf("error %v", err)
	}
	p.fails = 0
	got, log, err := p.ask(t, dir, selectionKey, "a", "b", "a", "c", "a")
	if err != nil || !slices.Equal(got, []float64{0.1, 0.2, 0.3, 0.4, 0.5}) || !slices.Equal(p.asked, []string{"a", "b", "a", "c", "a"}) {
		t.Errorf("%v, %v; asked %q", got, err, p.asked)
	}
	if !strings.Contains(log, "kept=3 of=5") || strings.Count(log, "\n") != 1 {
		t.Errorf("it said %q", log)
	}
	if _, _, err = p.ask(t, dir, "another selection", "a"); err != nil || len(p.asked) != 6 {
		t.Errorf("another selection: %v; asked %q", err, p.asked)
	}
}

// TestKeptAnswersDamaged flips a bit, and cuts the last line, of the file: these two are asked
// for again, and then the file is whole.
func TestKeptAnswersDamaged(t *testing.T) {
	dir, p := t.TempDir(), newPaid(t)
	if _, _, err := p.ask(t, dir, selectionKey, "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	path := KeepIn(dir, selectionKey, slog.New(slog.DiscardHandler)).path
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw = bytes.Replace(raw, []byte(`"points":1`), []byte(`"points":3`), 1)
	if err := os.WriteFile(path, raw[:len(raw)-5], 0o666); err != nil {
		t.Fatal(err)
	}
	got, log, err := p.ask(t, dir, selectionKey, "a", "b", "c")
	if err != nil || !slices.Equal(got, []float64{0.4, 0.2, 0.5}) || !strings.Contains(log, "damaged") {
		t.Errorf("%v, %v; it said %q", got, err, log)
	}
	if got, _, err = p.ask(t, dir, selectionKey, "a", "b", "c"); err != nil || !slices.Equal(got, []float64{0.4, 0.2, 0.5}) || len(p.asked) != 5 {
		t.Errorf("%v, %v; asked %q", got, err, p.asked)
	}
}

// TestKeptAnswersOnAFullDisk judges all the same, and says that nothing is kept.
func TestKeptAnswersOnAFullDisk(t *testing.T) {
	disk := memfs.New("/dataflex-kept")
	defer storage.Mount("/dataflex-kept", disk)()
	disk.Plan(memfs.Fault{Kind: memfs.Full, N: 3})
	got, log, err := newPaid(t).ask(t, "/dataflex-kept/cache", selectionKey, "a", "b")
	if err != nil || !slices.Equal(got, []float64{0.1, 0.2}) || strings.Count(log, "cannot be kept") != 1 {
		t.Errorf("%v, %v; it said %q", got, err, log)
	}
}

// TestKeptRewards lets a program fail in the middle. It is then asked for the rest, unless it
// was changed: what it gave before is then not used. Rewards of a program that says that all
// went well, and gave too few, are not kept.
func TestKeptRewards(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "judge.sh")
	ask := func(program string) (rewards []float64, asked string, err error) {
		if err := os.WriteFile(script, []byte("cd "+dir+"\n"+program), 0o666); err != nil {
			t.Fatal(err)
		}
		kept := KeepIn(dir, selectionKey, slog.New(slog.DiscardHandler))
		c := Command{Args: []string{"sh", script}, Timeout: 10 * time.Second}
		rewards, err = c.Keep(kept).Score(context.Background(), cases("1", "2", "3"))
		if err := kept.Close(); err != nil {
			t.Fatal(err)
		}
		raw, err2 := os.ReadFile(filepath.Join(dir, "asked"))
		if err2 != nil {
			t.Fatal(err2)
		}
		return rewards, string(raw), err
	}
	// It writes the answers that it is asked about, and fails after the second without credit.
	const program = `: > asked; while read -r l; do a=${l##*answer\":\"}; a=${a%\"*}; echo $a >> asked; echo "{\"reward\": 0.$a}"; test $a != 2 -o -e credit || exit 3; done`
	if _, asked, err := ask(program); err == nil || !strings.Contains(err.Error(), "exit status 3") || asked != "1\n2\n" {
		t.Fatalf("asked %q, error %v", asked, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "credit"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, asked, err := ask(program + "\n# mended"); err != nil || asked != "1\n2\n3\n" {
		t.Errorf("a changed program was asked %q, error %v", asked, err)
	}
	if got, asked, err := ask(program); err != nil || !slices.Equal(got, []float64{0.1, 0.2, 0.3}) || asked != "3\n" {
		t.Errorf("%v, %v; asked %q", got, err, asked)
	}
	const few = `cat > asked; echo '{"reward": 1}'`
	for range 2 {
		if _, asked, err := ask(few); err == nil || !strings.Contains(err.Error(), "1 rewards for 3") || strings.Count(asked, "\n") != 3 {
			t.Errorf("asked %q, error %v", asked, err)
		}
	}
}

// TestKeptAnswersAreBounded removes the oldest files when there is too much in a folder, but not
// the selection's own.
func TestKeptAnswersAreBounded(t *testing.T) {
	dir := t.TempDir()
	now, own := time.Now(), "answers_"+selectionKey[:32]+".jsonl"
	for i, name := range []string{"answers_new.jsonl", "answers_old.jsonl", "answers_oldest.jsonl", own, "selection_x.json"} {
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(keptBytes / 2); err != nil { // without taking the room
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := newPaid(t).ask(t, dir, selectionKey, "a"); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{own, "answers_new.jsonl", "answers_old.jsonl", "selection_x.json"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}
