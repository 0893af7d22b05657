package record

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Log records the progress of the run, with every line of the training log: tokens trained on
// and seconds since the start, including the parts before a resume, and how often the rows were
// trained on. done means that the run is finished.
func (w *Writer) Log(step, tokens int, seconds float64, dealt Dealt, done bool) error {
	if err := w.flushDomains(step); err != nil {
		return err
	}
	if err := w.flushWeights(step); err != nil {
		return err
	}
	if !done {
		w.took("training")
	}
	s := Step{Step: step, Tokens: tokens, Seconds: seconds, Phases: maps.Clone(w.phases), Memory: maps.Clone(w.memory), Peak: status("VmHWM:"), Done: done, Dealt: &dealt}
	if training := s.Training(); training > 0 && !done {
		if err := w.scalar(step, "train/tokens_per_second", float64(tokens)/training); err != nil {
			return err
		}
	}
	return w.add(Line{Step: &s})
}

// Training is the seconds spent on training steps only. The phases have an order, so that the
// same files always make the same page.
func (s Step) Training() float64 {
	t := s.Seconds
	for _, name := range slices.Sorted(maps.Keys(s.Phases)) {
		t -= s.Phases[name]
	}
	return max(t, 0)
}

// took records the memory that the process holds at the end of a phase.
func (w *Writer) took(phase string) {
	if now := status("VmRSS:"); now > w.memory[phase] {
		w.memory[phase] = now
	}
}

// status is a value in bytes of Linux's report on this process's memory: VmRSS is the current
// size, VmHWM the peak. 0 where the system does not report it.
func status(key string) uint64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(raw), key)
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
