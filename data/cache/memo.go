package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// nameFile holds what the training rows were called when their content was hashed.
const nameFile = "train.name"

// Name is the name by content that hash gives the training rows, and is remembered beside them:
// hashing a gigabyte takes longer than checking its checksums. The memory is bound to the
// manifest, which has them.
func (d *Data) Name(hash func() string) string {
	path := filepath.Join(d.Path, nameFile)
	if d.Path == "" {
		return hash()
	}
	manifest, err := storage.ReadFile(filepath.Join(d.Path, storage.ManifestFile))
	if err != nil {
		return hash()
	}
	if text, err := storage.ReadFile(path); err == nil {
		if name, sum, _ := strings.Cut(strings.TrimSpace(string(text)), "\n"); sum == nameSum(name, manifest) {
			return name
		}
	}
	name := hash()
	// A folder that cannot be written costs the next run a few seconds.
	_ = storage.WriteFile(path, []byte(name+"\n"+nameSum(name, manifest)+"\n"))
	return name
}

func nameSum(name string, manifest []byte) string {
	sum := sha256.Sum256(append([]byte(name+"\n"), manifest...))
	return hex.EncodeToString(sum[:])
}
