package ptx_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/kernels/ptx"
)

// TestPacked: every family embeds exactly the text beside its source, and it is small.
func TestPacked(t *testing.T) {
	files, err := filepath.Glob("../*/*.ptx")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var whole, packed int
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		embedded, err := os.ReadFile(f + ptx.PackedSuffix)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ptx.Unpack(string(embedded))
		if err != nil || got != string(text) {
			t.Errorf("%s%s is not the text (%v): go run ./kernels/build --pack", f, ptx.PackedSuffix, err)
		}
		if len(text) < 50_000 { // larger ones take seconds
			if again, err := ptx.Pack(text); err != nil || string(again) != string(embedded) {
				t.Errorf("%s%s is not what packing gives (%v)", f, ptx.PackedSuffix, err)
			}
		}
		whole, packed = whole+len(text), packed+len(embedded)
	}
	if 10*packed > whole {
		t.Errorf("%d bytes are packed into %d", whole, packed)
	}
}

// TestUnpack: plain text is unchanged, truncated packed text is an error.
func TestUnpack(t *testing.T) {
	if text, err := ptx.Unpack(".version 7.0\n"); err != nil || text != ".version 7.0\n" {
		t.Errorf("%q, %v", text, err)
	}
	packed, err := ptx.Pack([]byte(strings.Repeat("ret;\n", 100)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ptx.Unpack(string(packed[:len(packed)-3])); err == nil {
		t.Error("text that is cut short was taken")
	}
}
