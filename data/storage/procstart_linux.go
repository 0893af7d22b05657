package storage

import (
	"fmt"
	"os"
	"strings"
)

// startOf is when a process started, in clock ticks since boot; "" if there is no such process,
// or it has ended without its status having been read. Process numbers are reused, pairs of
// number and start are not.
func startOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses and may contain spaces.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const state, start = 0, 22 - 3 // proc_pid_stat(5) counts from 1; the first two fields are cut off, the third is the state
	if len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return ""
	}
	return fields[start]
}
