package main

import (
	"context"
	"crypto/sha1" // git's file hashes
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
)

// commit is the only revision of the hub.
const commit = "0123456789abcdef0123456789abcdef01234567"

// server is a hub with one model, on this machine only.
type server struct {
	url    string
	server http.Server
	group  task.Group
}

// serve serves a folder as Hugging Face's hub would serve a model of that name.
func serve(dir, name string) (*server, error) {
	files, err := listing(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/models/"+name+"/revision/main", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"sha":%q}`, commit) })
	mux.HandleFunc("/api/models/"+name+"/tree/"+commit, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(files) })
	at := "/" + name + "/resolve/" + commit + "/"
	mux.Handle(at, http.StripPrefix(at, http.FileServer(http.Dir(dir))))
	s := &server{url: "http://" + l.Addr().String()}
	s.server.Handler = mux
	s.group.Go(func() { _ = s.server.Serve(l) }) // it ends when the server is closed
	return s, nil
}

func (s *server) close() error {
	err := s.server.Shutdown(context.Background())
	s.group.Wait()
	return err
}

// listing is the hub's listing of a folder's files: names, sizes and hashes.
func listing(dir string) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []map[string]any
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		sum, size, err := storage.SHA256(path)
		if err != nil {
			return nil, err
		}
		f := map[string]any{"type": "file", "path": e.Name(), "size": size}
		if filepath.Ext(e.Name()) == ".safetensors" {
			f["lfs"] = map[string]any{"oid": sum, "size": size}
		} else {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			blob := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text))
			f["oid"] = hex.EncodeToString(blob[:])
		}
		list = append(list, f)
	}
	return json.Marshal(list)
}
