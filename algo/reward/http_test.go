package reward

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestJudgesThatMisbehave asks servers that answer wrongly, late, in part or elsewhere. The
// first question of each goes to its handler, the others get 0.5.
func TestJudgesThatMisbehave(t *testing.T) {
	completion := func(content string) string {
		return `{"choices": [{"message": {"content": ` + content + `}, "finish_reason": "length"}]}`
	}
	answer := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	drip := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, " ")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	half := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"choices":`)
	}
	for name, c := range map[string]struct {
		first   http.HandlerFunc
		retries int
		err     string // "" = the rewards are 0.5
	}{
		"busy":          {answer(429, "later", "Retry-After", "0.01"), 1, ""},
		"busy for long": {answer(429, "later", "Retry-After", "3600"), 1, "it asks to wait for 1h0m0s"},
		"timed out":     {answer(408, ""), 1, ""},
		"conflict":      {answer(409, ""), 1, ""},
		"broken":        {answer(500, "oops"), 0, "500 Internal Server Error: oops"},
		"closed":        {half, 1, ""},
		"hangs":         {hang, 1, ""},
		"always hangs":  {hang, 0, "no whole response within 200ms (reward_timeout)"},
		"drips":         {drip, 0, "no whole response within 200ms (reward_timeout)"},
		"moved":         {answer(301, "", "Location", "/new"), 1, "has moved: write the new address, http://"},
		"moved away":    {answer(308, "", "Location", "/new"), 0, ""},
		"in circles":    {answer(307, "", "Location", "/"), 1, "stopped after 10 redirects"},
		"huge":          {answer(200, strings.Repeat(" ", 1<<20+1)), 1, "longer than 1048576 bytes"},
		"a page":        {answer(200, "<html>"), 1, "not a chat completion: \"<html>\""},
		"an error":      {answer(200, `{"error": "no model"}`), 1, "not a chat completion"},
		"byte order":    {answer(200, "\ufeff"+completion(`"0.5"`)), 0, ""},
		"parts":         {answer(200, completion(`[{"type": "thinking", "thinking": "9?"}, {"type": "text", "text": "0.5"}]`)), 0, ""},
		"no content":    {answer(200, completion("null")), 1, `its answer is empty (finish_reason "length")`},
		"a number":      {answer(200, completion("0.5")), 1, "not a chat completion"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan bool, 1) // full once the first question has been asked
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body) // until then the server does not notice that the client has gone
				if r.Method != http.MethodPost {
					http.Error(w, "no question", http.StatusMethodNotAllowed)
					return
				}
				select {
				case asked <- true:
					c.first(w, r)
				default:
					if name == "in circles" {
						c.first(w, r)
						return
					}
					fmt.Fprint(w, completion(`"0.5"`))
				}
			}))
			defer server.Close()
			defer server.CloseClientConnections()
			h := HTTP{URL: server.URL, Timeout: 10 * time.Second, Retries: c.retries, Wait: time.Millisecond}
			if name == "hangs" || strings.Contains(c.err, "200ms") {
				h.Timeout = 200 * time.Millisecond
			}
			got, err := h.Score(context.Background(), []Case{{Answer: "a"}, {Answer: "b"}})
			switch {
			case c.err == "" && (err != nil || !slices.Equal(got, []float64{0.5, 0.5})):
				t.Errorf("%v, %v", got, err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("%v, %v; want an error with %q", got, err, c.err)
			}
		})
	}
}

// TestRetryAfter reads both forms of the header, RFC 9110's own example of a date among them.
func TestRetryAfter(t *testing.T) {
	now := time.Date(1999, time.December, 31, 23, 59, 29, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, " 1.5 ": 1500 * time.Millisecond, "-3": 0, "soon": 0, "NaN": 0, "1e300": 0,
		"Fri, 31 Dec 1999 23:59:59 GMT": 30 * time.Second, "Fri, 31 Dec 1999 23:59:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
