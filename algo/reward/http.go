package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	Retries     int           // after the first try, on status 429 or 5xx and when there is no response
	Wait        time.Duration // before the first retry; doubled every time
}

// DefaultJudge asks for a number between 0 and 1.
const DefaultJudge = "Judge how well the answer does what is asked, given the reference. " +
	"Reply with a single number between 0 (useless) and 1 (as good as the reference).\n\n" +
	"Asked:\n{prompt}\n\nReference:\n{reference}\n\nAnswer:\n{answer}\n\nNumber:"

// Score asks the judge for every case, one after the other.
func (h HTTP) Score(ctx context.Context, cases []Case) ([]float64, error) {
	answers := make([]string, len(cases))
	for i, c := range cases {
		var err error
		if answers[i], err = h.ask(ctx, c); err == nil {
			_, err = readMark(answers[i]) // reported now, not after the last case
		}
		if err != nil {
			return nil, fmt.Errorf("reward judge %s: %w", h.URL, err)
		}
	}
	out, err := readMarks(answers)
	if err == nil {
		err = check(out, len(cases))
	}
	if err != nil {
		return nil, fmt.Errorf("reward judge %s: %w", h.URL, err)
	}
	return out, nil
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

// errAgain marks failures that may go away when tried again.
var errAgain = errors.New("the judge is busy or unreachable")

func (h HTTP) ask(ctx context.Context, c Case) (string, error) {
	template := h.Prompt
	if template == "" {
		template = DefaultJudge
	}
	content := strings.NewReplacer("{prompt}", c.Prompt, "{reference}", c.Reference, "{answer}", c.Answer).Replace(template)
	body, err := json.Marshal(map[string]any{
		"model": h.Model, "temperature": h.Temperature, "messages": []map[string]string{{"role": "user", "content": content}},
	})
	if err != nil {
		return "", err
	}
	wait := h.Wait
	for try := 0; ; try++ {
		text, err := h.once(ctx, body)
		if err == nil || !errors.Is(err, errAgain) || try == h.Retries {
			return text, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(wait):
		}
		wait *= 2
	}
}

func (h HTTP) once(ctx context.Context, body []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	q.Header.Set("Content-Type", "application/json")
	if h.Key != "" {
		q.Header.Set("Authorization", "Bearer "+h.Key)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errAgain, err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: %w", errAgain, err)
	case r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500:
		return "", fmt.Errorf("%w: %s: %s", errAgain, r.Status, end(string(raw)))
	case r.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: %s", r.Status, end(string(raw)))
	}
	var a struct {
		Choices []struct {
			Message struct {
				Content string `json:"content"`
			} `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(raw, &a); err != nil || len(a.Choices) == 0 {
		return "", fmt.Errorf("not a chat completion: %q", end(string(raw)))
	}
	return a.Choices[0].Message.Content, nil
}
