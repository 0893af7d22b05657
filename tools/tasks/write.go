package tasks

import (
	"encoding/json"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
)

// Write writes the sets, each as name.json, and a dataset_info.json that names them.
func Write(dir string, sets map[string][]Row) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info := map[string]any{}
	for name, rows := range sets {
		if err := writeJSON(filepath.Join(dir, name+".json"), rows); err != nil {
			return err
		}
		info[name] = map[string]string{"file_name": name + ".json"}
	}
	return writeJSON(filepath.Join(dir, "dataset_info.json"), info)
}

func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return storage.WriteFile(path, append(raw, '\n'))
}
