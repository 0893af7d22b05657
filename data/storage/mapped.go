package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"unsafe"
)

// mappings are the files currently mapped, so that a fault can name its file.
var mappings struct {
	sync.Mutex
	paths map[*byte]mapping
}

type mapping struct {
	path string
	size uintptr
}

// Map maps a file for reading; a later rename over path does not affect it. Read it under
// CatchFault: if the file is truncated or its disk fails, reading is a memory fault.
func Map(path string) (b []byte, unmap func() error, err error) {
	f, err := OpenFile(path, os.O_RDONLY|noWait, 0) // a FIFO is refused instead of waited for
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	b, release, err := f.Map()
	if err != nil || len(b) == 0 {
		return b, release, err
	}
	key := unsafe.SliceData(b)
	mappings.Lock()
	defer mappings.Unlock()
	if mappings.paths == nil {
		mappings.paths = map[*byte]mapping{}
	}
	mappings.paths[key] = mapping{path, uintptr(len(b))}
	return b, func() error {
		mappings.Lock()
		delete(mappings.paths, key)
		mappings.Unlock()
		return release()
	}, nil
}

// mappedMoved records that a folder was renamed.
func mappedMoved(from, to string) {
	mappings.Lock()
	defer mappings.Unlock()
	for key, m := range mappings.paths {
		if rest, ok := strings.CutPrefix(m.path, from+string(filepath.Separator)); ok {
			m.path = filepath.Join(to, rest)
			mappings.paths[key] = m
		}
	}
}

// pathOf returns the file that is mapped at an address.
func pathOf(addr uintptr) (string, bool) {
	mappings.Lock()
	defer mappings.Unlock()
	for start, m := range mappings.paths {
		// A mapping covers whole pages.
		if from := uintptr(unsafe.Pointer(start)); addr >= from && addr-from < (m.size+pageMask)&^pageMask {
			return m.path, true
		}
	}
	return "", false
}

const pageMask = 1<<16 - 1 // the largest page size of the supported machines

// CatchFault turns the memory fault of reading a mapped file that was truncated, or whose disk
// fails, into an error that names the file. Every goroutine that reads mapped files needs its
// own: defer storage.CatchFault(&err)().
func CatchFault(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			*err = AsFault(r)
			if *err == nil {
				panic(r)
			}
		}
	}
}

// AsFault is the error behind a recovered panic if it was a fault of a mapped file, else nil.
func AsFault(recovered any) error {
	fault, ok := recovered.(interface{ Addr() uintptr })
	if !ok {
		return nil
	}
	path, ok := pathOf(fault.Addr())
	if !ok {
		return nil
	}
	return fmt.Errorf("%s was truncated, or its disk failed, while it was read: start again when it is complete", path)
}
