// Package chromium drives a headless Chromium, for the tests of the report page and of the
// board.
package chromium

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Browser is a headless Chromium, controlled over two pipes by the DevTools protocol: JSON
// messages, each terminated by a zero byte.
type Browser struct {
	t       *testing.T
	to      io.Writer
	from    *bufio.Reader
	session string
	next    int
	Faults  []string // exceptions and console errors since the page was opened
	loaded  bool
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
	SessionID string `json:"sessionId,omitempty"`
}

// Start skips the test where there is no Chromium.
func Start(t *testing.T) *Browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium: apt-get install chromium")
	}
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: it fails the test where a child process of the killed browser writes a
	// file while the folder is being emptied.
	profile, err := os.MkdirTemp("", "dataflex-browser-")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	c.ExtraFiles = []*os.File{theirs, answers}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	answers.Close()
	stuck := time.AfterFunc(5*time.Minute, func() { _ = c.Process.Kill() }) // pending reads then end
	t.Cleanup(func() {
		stuck.Stop()
		to.Close()
		_ = c.Process.Kill()
		_ = c.Wait() // killed
		from.Close()
		removeProfile(t, profile)
	})
	b := &Browser{t: t, to: to, from: bufio.NewReaderSize(from, 1<<20)}
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", map[string]any{}, nil)
	}
	return b
}

// removeProfile empties the folder of a killed browser. The browser's child processes are not
// ours to wait for; they end a moment after it.
func removeProfile(t *testing.T, dir string) {
	err := os.RemoveAll(dir)
	for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		t.Logf("the browser's profile stays: %v", err)
	}
}

// call sends a command and reads its response.
func (b *Browser) call(method string, params any, into any) {
	b.t.Helper()
	b.next++
	raw, err := json.Marshal(params)
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := json.Marshal(message{ID: b.next, Method: method, Params: raw, SessionID: b.session})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(body, 0)); err != nil {
		b.t.Fatal(err)
	}
	for {
		m := b.read(method)
		if m.ID != b.next {
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if into != nil {
			if err := json.Unmarshal(m.Result, into); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

func (b *Browser) read(during string) message {
	b.t.Helper()
	raw, err := b.from.ReadBytes(0)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the browser ended")
		}
		b.t.Fatalf("%s: %v", during, err)
	}
	var m message
	if err := json.Unmarshal(raw[:len(raw)-1], &m); err != nil {
		b.t.Fatal(err)
	}
	switch m.Method {
	case "Runtime.exceptionThrown", "Log.entryAdded":
		b.Faults = append(b.Faults, string(m.Params))
	case "Runtime.consoleAPICalled":
		if strings.Contains(string(m.Params), `"type":"error"`) {
			b.Faults = append(b.Faults, string(m.Params))
		}
	case "Page.loadEventFired":
		b.loaded = true
	case "Page.javascriptDialogOpening":
		b.Faults = append(b.Faults, "a dialog: "+string(m.Params))
	}
	return m
}

// Open shows a file, or an address of http, at a width, in a theme ("light", "dark").
func (b *Browser) Open(path string, width int, theme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": theme}}}, nil)
	b.Faults, b.loaded = nil, false
	url := path
	if !strings.HasPrefix(url, "http://") {
		full, err := filepath.Abs(path)
		if err != nil {
			b.t.Fatal(err)
		}
		url = "file://" + full
	}
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	for !b.loaded {
		b.read("loading")
	}
	// Two frames, because the pictures are drawn in the first.
	b.Eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(() => done(1)))))", nil)
}

// Eval evaluates an expression in the page.
func (b *Browser) Eval(expression string, into any) {
	b.t.Helper()
	var got struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		ExceptionDetails json.RawMessage `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &got)
	if got.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, got.ExceptionDetails)
	}
	if into != nil {
		if err := json.Unmarshal(got.Result.Value, into); err != nil {
			b.t.Fatalf("%s: %v", expression, err)
		}
	}
}

// Until waits for an expression to be true in the page.
func (b *Browser) Until(expression string) {
	b.t.Helper()
	var held bool
	b.Eval(fmt.Sprintf(`new Promise(done => {
		const end = Date.now() + 90000, look = () => ((%s) ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 50));
		look();
	})`, expression), &held)
	if !held {
		var shown string
		b.Eval("document.body.innerText", &shown)
		b.t.Fatalf("never true: %s; the page shows\n%.3000s", expression, shown)
	}
}

// Screenshot saves a picture of the whole page in the folder REPORT_SCREENSHOTS, if set, for
// people to look at.
func (b *Browser) Screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("REPORT_SCREENSHOTS")
	if dir == "" {
		return
	}
	var got struct {
		Data string `json:"data"`
	}
	b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &got)
	raw, err := base64.StdEncoding.DecodeString(got.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), raw, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// Clean fails if the page reported an error.
func (b *Browser) Clean() {
	b.t.Helper()
	if len(b.Faults) > 0 {
		b.t.Errorf("the page complains: %s", strings.Join(b.Faults, "\n"))
	}
}

// Set gives a control a value, as a user would.
func (b *Browser) Set(selector, event, value string) {
	b.t.Helper()
	b.Eval(fmt.Sprintf("(e => { e.value = %q; e.dispatchEvent(new Event(%q)); })(document.querySelector(%q))", value, event, selector), nil)
}

// Text is what an element shows.
func (b *Browser) Text(selector string) (s string) {
	b.t.Helper()
	b.Eval(fmt.Sprintf("(e => e ? e.innerText : '(none)')(document.querySelector(%q))", selector), &s)
	return s
}
