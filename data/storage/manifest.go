package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// manifest is the content of manifest.json: a folder without one, or whose files differ from
// it, is incomplete.
type manifest struct {
	Version int            `json:"version"`
	Files   []manifestItem `json:"files"`
}

type manifestItem struct {
	Path   string `json:"path"` // slash-separated, below the folder
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// seal adds the manifest of the files written.
func (f *Folder) seal() error {
	m := manifest{Version: 1, Files: []manifestItem{}}
	err := walk(f.temp, func(path string, isDir bool) error {
		if isDir {
			return nil
		}
		item, err := describe(f.temp, path)
		if item.Path == ManifestFile {
			return fmt.Errorf("%s is the name of the manifest itself", path)
		}
		m.Files = append(m.Files, item)
		return err
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(filepath.Join(f.temp, ManifestFile), append(text, '\n'))
}

// describe hashes a file of the folder dir.
func describe(dir, path string) (manifestItem, error) {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return manifestItem{}, err
	}
	item := manifestItem{Path: filepath.ToSlash(rel)}
	item.SHA256, item.Size, err = SHA256(path)
	return item, err
}

// Verify checks a folder against the manifest written by Commit, including the hashes. Files
// that the manifest does not name are ignored.
func Verify(dir string) error {
	path := filepath.Join(dir, ManifestFile)
	text, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no %s: its writing was interrupted, or another program wrote it (to continue from a checkpoint of LLaMA-Factory's, "+
			"give its weights as adapter_name_or_path or model_name_or_path: step, optimizer and data order then start from the beginning): %w", dir, ManifestFile, err)
	}
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if m.Version != 1 {
		return fmt.Errorf("%s: version %d, this program knows 1", path, m.Version)
	}
	for _, want := range m.Files {
		if err := want.check(dir); err != nil {
			return err
		}
	}
	return nil
}

// check compares a file with its entry in the manifest.
func (want manifestItem) check(dir string) error {
	if !filepath.IsLocal(filepath.FromSlash(want.Path)) {
		return fmt.Errorf("%s: path %q leaves the folder", filepath.Join(dir, ManifestFile), want.Path)
	}
	file := filepath.Join(dir, filepath.FromSlash(want.Path))
	info, err := Stat(file)
	if err != nil {
		return fmt.Errorf("%s is listed in %s: %w", file, ManifestFile, err)
	}
	if info.Size() != want.Size {
		return fmt.Errorf("%s has %d bytes, %s says %d", file, info.Size(), ManifestFile, want.Size)
	}
	got, err := describe(dir, file)
	if err != nil {
		return err
	}
	if got.SHA256 != want.SHA256 {
		return fmt.Errorf("%s is damaged: SHA-256 %s, %s says %s", file, got.SHA256, ManifestFile, want.SHA256)
	}
	return nil
}
