package reward

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRules(t *testing.T) {
	for _, c := range []struct {
		rule              Reward
		reference, answer string
		want              float64
	}{
		{ExactMatch, "Paris.", " Paris.\n", 1},
		{ExactMatch, "Paris.", "paris.", 0},
		{ExactMatch, "a  b", "a\nb", 1},
		{Contains, "Paris", "It is Paris, of course", 1},
		{Contains, "", "anything", 0},
		{Contains, "Paris", "Lyon", 0},
		{Numeric, "The sum is 1,000.", "So we get 1000.0", 1},
		{Numeric, "-3", "x = -3", 1},
		{Numeric, "3", "x = -3", 0},
		{Numeric, "7", "10-7", 1}, // the minus is an operator
		{Numeric, "0.5", ".5 apples and 0.50", 1},
		{Numeric, "42", "forty-two", 0},
		{Numeric, "15", "versions 3.14.15", 0},
		{Numeric, "2000001", "2000000", 0},
		{Numeric, "0.001", "x = 1e-3", 1},
		{Numeric, "-3", "x = 1e-3", 0},
		{Numeric, "-1,200", "about -1.2E3", 1},
		{Numeric, "3", "the e-3 visa", 0}, // -3: the hyphen is taken for a minus
	} {
		got, err := c.rule.Score(context.Background(), []Case{{Reference: c.reference, Answer: c.answer}})
		if err != nil || got[0] != c.want {
			t.Errorf("%q for %q: %v, %v, want %v", c.answer, c.reference, got, err, c.want)
		}
	}
}

func TestCommand(t *testing.T) {
	cases := []Case{{Answer: "yes"}, {Answer: "no", Prompt: "with \"quotes\"\nand lines"}, {Answer: "yes"}}
	shell := func(script string) Command {
		return Command{Args: []string{"sh", "-c", script}, Timeout: 5 * time.Second}
	}
	program := shell(`while read -r l; do case "$l" in *'"answer":"yes"'*) echo '{"reward": 1}';; *) echo '{"reward": -0.5}';; esac; done; echo judged >&2`)
	var said []string
	program.Stderr = func(l string) { said = append(said, l) }
	got, err := program.Score(context.Background(), cases)
	if err != nil || !slices.Equal(got, []float64{1, -0.5, 1}) {
		t.Errorf("%v, %v", got, err)
	}
	if !slices.Equal(said, []string{"judged"}) {
		t.Errorf("it said %q", said)
	}
	late := shell("sleep 10")
	late.Timeout = 50 * time.Millisecond
	for want, c := range map[string]Command{
		"no answer within":    late,
		"it said: \"broken\"": shell("echo broken >&2; exit 3"),
		"2 rewards for 3":     shell(`echo '{"reward": 1}'; echo '{"reward": 1}'`),
		`line 1 has no "rewa`: shell(`echo '{"score": 1}'`),
		"line 2 is not":       shell(`echo '{"reward": 1}'; echo yes`),
		"no such file":        {Args: []string{"/nowhere/judge"}, Timeout: time.Second},
	} {
		if _, err := c.Score(context.Background(), cases); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestHTTP(t *testing.T) {
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Model    string
			Messages []struct{ Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Model != "judge" || r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "bad question", http.StatusBadRequest)
			return
		}
		tries++
		content := q.Messages[0].Content
		switch {
		case strings.Contains(content, "busy") && tries < 3:
			http.Error(w, "later", http.StatusServiceUnavailable)
		case strings.Contains(content, "silent"):
			fmt.Fprint(w, `{"choices": [{"message": {"content": "I cannot say"}}]}`)
		default:
			fmt.Fprint(w, `{"choices": [{"message": {"content": "Good: 0.75"}}]}`)
		}
	}))
	defer server.Close()
	h := HTTP{URL: server.URL, Key: "secret", Model: "judge", Timeout: 5 * time.Second, Retries: 3, Wait: time.Millisecond}
	got, err := h.Score(context.Background(), []Case{{Prompt: "p", Reference: "r", Answer: "a"}, {Answer: "busy"}})
	if err != nil || !slices.Equal(got, []float64{0.75, 0.75}) || tries != 3 {
		t.Errorf("%v, %v after %d tries", got, err, tries)
	}
	if _, err := h.Score(context.Background(), []Case{{Answer: "silent"}}); err == nil || !strings.Contains(err.Error(), "no number") {
		t.Errorf("no number: %v", err)
	}
	if err := h.Reach(context.Background()); err != nil {
		t.Errorf("it refuses HEAD, and so it answers: %v", err)
	}
	h.Key = "wrong"
	tries = 0
	if _, err := h.Score(context.Background(), []Case{{Answer: "a"}}); err == nil || !strings.Contains(err.Error(), "400") || tries != 0 {
		t.Errorf("a refusal: %v", err)
	}
	h.URL, h.Retries = "http://127.0.0.1:1", 1
	if _, err := h.Score(context.Background(), []Case{{Answer: "a"}}); err == nil || !strings.Contains(err.Error(), "busy or unreachable") {
		t.Errorf("nobody there: %v", err)
	}
	if err := h.Reach(context.Background()); err == nil || !strings.Contains(err.Error(), "the judge does not respond") {
		t.Errorf("nobody there: %v", err)
	}
}
