package tokenizer

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// corpus reads the texts of a shared file of {"text"} lines.
func corpus(b *testing.B, name string) (lines []string, bytes int64) {
	b.Helper()
	f, err := os.Open(filepath.Join(sharedTokenizers, "..", name))
	if err != nil {
		b.Skip("no shared data: ", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	scan := bufio.NewScanner(z)
	scan.Buffer(nil, 1<<24)
	for scan.Scan() {
		var row struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal(scan.Bytes(), &row); err != nil {
			b.Fatal(err)
		}
		lines = append(lines, row.Text)
		bytes += int64(len(row.Text))
	}
	return lines, bytes
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range []string{"gpt-2", "llama-bpe", "qwen2", "minimind", "llama-spm", "mistral-v1"} {
		tok := loadShared(b, name)
		for _, text := range []string{"book", "c4", "github", "wikipedia"} {
			b.Run(name+"/"+text, func(b *testing.B) {
				lines, n := corpus(b, "mixture/"+text+".jsonl.gz")
				b.SetBytes(n)
				ids := make([]int32, 0, 1<<20)
				for b.Loop() {
					for _, line := range lines {
						ids = tok.Append(ids[:0], line)
					}
				}
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range []string{"minimind", "llama-bpe"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				loadShared(b, name)
			}
		})
	}
}
