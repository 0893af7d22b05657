package storage

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// OpenInput opens a file named by the user for reading. Anything but a regular file is refused
// by name: a FIFO may never be written to, a device may never end.
func OpenInput(path string) (File, error) {
	f, err := OpenFile(path, os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is %s: name a regular file, and write its content to one first", path, kindOf(info.Mode()))
		if info.IsDir() {
			err = fmt.Errorf("%s is a folder where a file is expected", path)
		}
	}
	if err != nil {
		_ = f.Close() // it was opened to check its kind
		return nil, err
	}
	return f, nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a pipe (FIFO)"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

// ReadInput reads a file named by the user, of at most most bytes.
func ReadInput(path string, most int64) ([]byte, error) {
	f, err := OpenInput(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, tooLarge(path, info.Size(), most)
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1)) // it may grow while it is read
	if err == nil && int64(len(text)) > most {
		err = tooLarge(path, int64(len(text)), most)
	}
	return text, err
}

func tooLarge(path string, size, most int64) error {
	return fmt.Errorf("%s has %d bytes, a file of its kind has at most %d: it is probably another kind of file", path, size, most)
}
