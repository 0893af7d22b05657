package dataset

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestOtherEncodings: a file that is not in UTF-8 is refused, of any kind, with the command that
// converts it.
func TestOtherEncodings(t *testing.T) {
	wide := func(text string) string {
		var b strings.Builder
		for _, r := range text {
			b.WriteString(string(r) + "\x00")
		}
		return b.String()
	}
	for name, text := range map[string]string{"x.jsonl": `{"text":"a"}`, "x.json": `[{"text":"a"}]`, "x.csv": "text\na\n", "x.txt": "a text\n"} {
		for content, want := range map[string]string{
			"\xff\xfe" + wide(text):               "is in UTF-16, and text is read as UTF-8: iconv -f UTF-16 -t UTF-8 '",
			wide(text):                            "is in UTF-16LE, and text is read as UTF-8: iconv -f UTF-16LE -t UTF-8 '",
			strings.Replace(text, "a", "\xe4", 1): "if the file is in Windows-1252 or Latin-1, iconv -f WINDOWS-1252 -t UTF-8 '",
		} {
			dir := folder(t, map[string]string{InfoFile: fmt.Sprintf(`{"x":{"file_name":%q,"columns":{"prompt":"text"}}}`, name), name: content})
			if _, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}}); err == nil || !strings.Contains(err.Error(), want+filepath.Join(dir, name)+"' >") {
				t.Errorf("%s: %q: %v", name, content, err)
			}
		}
	}
	dir := folder(t, map[string]string{InfoFile: "\xff\xfe" + wide("{}")})
	if _, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}}); err == nil || !strings.Contains(err.Error(), InfoFile+" is in UTF-16") {
		t.Error(err)
	}
}
