package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// HTTP is a judge with an OpenAI-style chat completions interface, local or remote. Its reward
// is the number in its answer; an answer without one is an error.
type HTTP struct {
	URL         string // of the completions endpoint
	Key         string // sent as a bearer token if not empty
	Model       string
	Temperature float64
	Prompt      string        // with {prompt}, {reference} and {answer}; empty = DefaultJudge
	Timeout     time.Duration // per request
	Retries     int           // after the first try, on the statuses of busy and when there is no whole response
	Wait        time.Duration // before the first retry; doubled every time; longer where the judge asks for it by Retry-After
	Kept        *Kept         // of an interrupted attempt; nil keeps nothing
}

// DefaultJudge asks for a number between 0 and 1.
const DefaultJudge = "Judge how well the answer does what is asked, given the reference. " +
	"Reply with a single number between 0 (useless) and 1 (as good as the reference).\n\n" +
	"Asked:\n{prompt}\n\nReference:\n{reference}\n\nAnswer:\n{answer}\n\nNumber:"

// Keep returns the same judge, whose answers are kept.
func (h HTTP) Keep(k *Kept) Reward {
	h.Kept = k
	return h
}

// Score asks the judge for every case, one after the other.
func (h HTTP) Score(ctx context.Context, cases []Case) ([]float64, error) {
	out, err := h.score(ctx, cases)
	if err == nil {
		err = check(out, len(cases))
	}
	if err != nil {
		return nil, fmt.Errorf("reward judge %s: %w", h.URL, err)
	}
	return out, nil
}

func (h HTTP) score(ctx context.Context, cases []Case) ([]float64, error) {
	bodies := make([][]byte, len(cases))
	for i, c := range cases {
		var err error
		if bodies[i], err = h.body(c); err != nil {
			return nil, err
		}
	}
	names := h.Kept.questions(h.URL, bodies)
	marks, texts := make([]mark, len(cases)), make([]string, len(cases))
	for i, body := range bodies {
		if a, ok := h.Kept.find(names[i]); ok {
			marks[i], texts[i] = a.mark(), a.Text
			continue
		}
		var err error
		if texts[i], err = h.ask(ctx, body); err == nil {
			marks[i], err = readMark(texts[i])
		}
		if err != nil {
			return nil, err
		}
		h.Kept.add(keptAnswer{Question: names[i], Points: marks[i].Points, OutOf: marks[i].OutOf, Text: texts[i]})
	}
	out, err := values(marks, texts)
	if err != nil {
		h.Kept.drop()
	}
	return out, err
}

// reachTimeout is how long a starting run waits for a response from a judge.
const reachTimeout = 3 * time.Second

// Reach returns an error where nothing responds at the judge's address. Any response is enough,
// even a refusal: no question and no key is sent.
func (h HTTP) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodHead, h.URL, nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return fmt.Errorf("the judge does not respond: %w", err)
	}
	return r.Body.Close()
}

// busyError is a failure that may go away when tried again.
type busyError struct {
	err   error
	after time.Duration // the judge asked to be left alone for so long
}

func (e *busyError) Error() string { return "the judge is busy or unreachable: " + e.err.Error() }
func (e *busyError) Unwrap() error { return e.err }

// body is the request that asks about a case.
func (h HTTP) body(c Case) ([]byte, error) {
	template := h.Prompt
	if template == "" {
		template = DefaultJudge
	}
	content := strings.NewReplacer("{prompt}", c.Prompt, "{reference}", c.Reference, "{answer}", c.Answer).Replace(template)
	return json.Marshal(map[string]any{
		"model": h.Model, "temperature": h.Temperature, "messages": []map[string]string{{"role": "user", "content": content}},
	})
}

// ask asks until there is an answer, or the retries are used up.
func (h HTTP) ask(ctx context.Context, body []byte) (string, error) {
	wait := h.Wait
	for try := 0; ; try++ {
		text, err := h.once(ctx, body)
		var busy *busyError
		switch {
		case err == nil || !errors.As(err, &busy) || try == h.Retries:
			return text, err
		case busy.after > h.Timeout:
			return "", fmt.Errorf("%w (it asks to wait for %v, and reward_timeout is %v)", err, busy.after, h.Timeout)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(max(wait, busy.after)):
		}
		wait *= 2
	}
}

// judges follows the redirects that repeat the question. The others, 301 to 303, would turn it
// into a GET without a body.
var judges = http.Client{CheckRedirect: func(q *http.Request, via []*http.Request) error {
	switch {
	case q.Method != http.MethodPost && via[0].Method == http.MethodPost:
		return fmt.Errorf("the judge has moved: write the new address, %s", q.URL.Redacted())
	case len(via) >= 10:
		return errors.New("stopped after 10 redirects")
	}
	return nil
}}

// longestResponse bounds a judge's response, in bytes.
const longestResponse = 1 << 20

func (h HTTP) once(ctx context.Context, body []byte) (string, error) {
	within, cancel := context.WithTimeoutCause(ctx, h.Timeout, fmt.Errorf("no whole response within %v (reward_timeout)", h.Timeout))
	defer cancel()
	q, err := http.NewRequestWithContext(within, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	q.Header.Set("Content-Type", "application/json")
	// Never sent: it tells net/http that a question may be asked twice, so that a connection
	// which the judge has closed meanwhile costs neither a retry nor a wait.
	q.Header["X-Idempotency-Key"] = nil
	if h.Key != "" {
		q.Header.Set("Authorization", "Bearer "+h.Key)
	}
	r, err := judges.Do(q)
	var raw []byte
	if err == nil {
		defer r.Body.Close()
		raw, err = io.ReadAll(io.LimitReader(r.Body, longestResponse+1))
	}
	switch {
	case err != nil && r != nil && r.StatusCode/100 == 3:
		return "", err
	case err != nil && ctx.Err() == nil && within.Err() != nil:
		return "", &busyError{err: context.Cause(within)}
	case err != nil:
		return "", &busyError{err: err}
	case busy(r.StatusCode):
		return "", &busyError{fmt.Errorf("%s: %s", r.Status, end(string(raw))), retryAfter(r.Header, time.Now())}
	case r.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: %s", r.Status, end(string(raw)))
	case len(raw) > longestResponse:
		return "", fmt.Errorf("its response is longer than %d bytes, and so no chat completion with a number", longestResponse)
	}
	return readCompletion(raw)
}

// busy reports whether a status says that the same question may be answered later: those after
// which OpenAI's own client asks again.
func busy(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusConflict || status == http.StatusTooManyRequests || status >= 500
}

// retryAfter reads the header of that name, seconds or a date (RFC 9110, 10.2.3); 0 without one.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if s, err := strconv.ParseFloat(text, 64); err == nil && s > 0 && s < 1e9 {
		return time.Duration(s * float64(time.Second))
	}
	if t, err := http.ParseTime(text); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// readCompletion returns the text of a chat completion. Its content is a text, or a list of
// parts, of which those of type text count: others are a model's thoughts.
func readCompletion(raw []byte) (string, error) {
	var a struct {
		Choices []struct {
			Message struct {
				Content json.RawMessage `json:"content"`
			} `json:"message"`
			FinishReason string `json:"finish_reason"`
		} `json:"choices"`
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	if err := json.Unmarshal(raw, &a); err != nil || len(a.Choices) == 0 {
		return "", fmt.Errorf("not a chat completion: %q", end(string(raw)))
	}
	content := a.Choices[0].Message.Content
	var text string
	var parts []struct{ Type, Text string }
	if json.Unmarshal(content, &text) != nil {
		if json.Unmarshal(content, &parts) != nil {
			return "", fmt.Errorf("not a chat completion: %q", end(string(raw)))
		}
		for _, p := range parts {
			if p.Type == "text" {
				text += p.Text
			}
		}
	}
	if strings.TrimSpace(text) == "" {
		return "", fmt.Errorf("its answer is empty (finish_reason %q)", a.Choices[0].FinishReason)
	}
	return text, nil
}
