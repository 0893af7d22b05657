package storage

import (
	"bytes"
	"fmt"
)

// headBytes is how much of a text NotUTF8 looks at.
const headBytes = 4

// NotUTF8 returns an error for a text, of which head is the beginning (4 bytes or all of it),
// that is in UTF-16 or UTF-32, with a byte order mark or without one. name is its file's. Other
// encodings are only found where a byte is not UTF-8: see Latin.
func NotUTF8(name string, head []byte) error {
	head = head[:min(len(head), headBytes)]
	zeros := make([]bool, len(head))
	for i, b := range head {
		zeros[i] = b == 0
	}
	like := func(pattern string) bool { // 0 stands for a zero byte, x for any other
		for i := range zeros {
			if zeros[i] != (pattern[i] == '0') {
				return false
			}
		}
		return len(zeros) == headBytes
	}
	switch {
	case bytes.Equal(head, []byte("\xff\xfe\x00\x00")), bytes.Equal(head, []byte("\x00\x00\xfe\xff")):
		return inEncoding(name, "UTF-32")
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return inEncoding(name, "UTF-16")
	case like("x0x0"):
		return inEncoding(name, "UTF-16LE")
	case like("0x0x"):
		return inEncoding(name, "UTF-16BE")
	case like("x000"):
		return inEncoding(name, "UTF-32LE")
	case like("000x"):
		return inEncoding(name, "UTF-32BE")
	}
	return nil
}

func inEncoding(name, encoding string) error {
	return fmt.Errorf("%s is in %s, and text is read as UTF-8: %s", name, encoding, iconv(name, encoding))
}

// Latin is what to do with a file that has bytes which are not UTF-8: such files are usually in
// an encoding of one byte a character.
func Latin(name string) string {
	return "if the file is in Windows-1252 or Latin-1, " + iconv(name, "WINDOWS-1252")
}

func iconv(name, from string) string {
	return fmt.Sprintf("iconv -f %s -t UTF-8 '%s' > NEW converts it", from, name)
}
