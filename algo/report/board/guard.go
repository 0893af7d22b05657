package board

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"mime"
	"net"
	"net/http"
	"strings"

	"dataflex.dev/dataflex/data/task"
)

// handler handles one path below the token, for one method.
type handler struct {
	method string
	answer func(w http.ResponseWriter, r *http.Request) error
}

// routes are all valid paths. They are compared literally: a path is never cleaned, joined or
// looked up on a disk.
func (b *Board) routes() map[string]handler {
	return map[string]handler{
		"":        {http.MethodGet, b.page},
		"events":  {http.MethodGet, b.events},
		"keys":    {http.MethodGet, b.keys},
		"draft":   {http.MethodGet, b.draft},
		"log":     {http.MethodGet, b.jobLog},
		"compare": {http.MethodGet, b.compare},
		"check":   {http.MethodPost, b.check},
		"edit":    {http.MethodPost, b.edit},
		"start":   {http.MethodPost, b.start},
		"stop":    {http.MethodPost, b.stop},
	}
}

// refusal is an error whose text is shown on the page.
type refusal struct {
	status int
	text   string
}

func (r refusal) Error() string { return r.text }

// mostAsked is the maximum size of a request in bytes.
const mostAsked = 1 << 20

// ServeHTTP checks the token and calls the handler of the path.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	name, ok := b.admitted(r)
	if !ok {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	target, ok := b.handlers[name]
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method != target.method:
		h.Set("Allow", target.method)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, mostAsked)
	err := b.caught(r.Method+" "+name, func() error { return target.answer(w, r) })
	var refused refusal
	switch {
	case err == nil:
	case errors.As(err, &refused):
		http.Error(w, refused.text, refused.status)
	case errors.As(err, new(*task.Panic)):
		http.Error(w, "internal error of the board, please report it: "+err.Error(), http.StatusInternalServerError)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// admitted checks the sender, and separates the token from the path.
func (b *Board) admitted(r *http.Request) (name string, ok bool) {
	given, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	known := subtle.ConstantTimeCompare([]byte(given), []byte(b.token)) == 1
	return name, known && thisMachine(r.Host) && ofOurs(r)
}

// thisMachine reports whether a request was meant for a server on this machine: another site's
// name that resolves to this machine is refused. The port may differ, as with a tunnel.
func thisMachine(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return host == "127.0.0.1" || host == "localhost"
}

// ofOurs reports whether a request comes from a page of this board, or, if it only reads, not
// from a page at all.
func ofOurs(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return false // a request by another site's page; following a link is the user's own action
	}
	if origin == "" {
		return r.Method == http.MethodGet
	}
	return origin == "http://"+r.Host
}

// asked decodes a request's JSON.
func asked(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return refusal{http.StatusUnsupportedMediaType, "application/json is expected"}
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return refusal{http.StatusBadRequest, "the request cannot be read: " + err.Error()}
	}
	return nil
}

// reply sends JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(raw)
	return err
}
