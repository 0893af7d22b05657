package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// report is what ptxas-check --json writes, as far as the table tells it.
type report struct {
	PTXAS   string
	Results []struct {
		Arch    string
		Kernels map[string]resources
	}
}

// resources are one kernel's.
type resources struct {
	Regs         int
	SpillLoads   int `json:"spill_loads"`
	SpillStores  int `json:"spill_stores"`
	Smem         int
	DynamicSmem  int `json:"dynamic_smem"`
	Threads      int
	BlocksPerSM  int    `json:"blocks_per_sm"`
	Warps        int    `json:"warps_percent"`
	Limit        string // what holds back more blocks
	Instructions int
	HMMA, HGMMA  int
	LDGSTS, TMA  int
	WGMMA        []string // complaints
}

// printTable writes a report of ptxas-check --json as a Markdown table.
func printTable(w io.Writer, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var rows []string
	for _, f := range r.Results {
		for name, k := range f.Kernels {
			rows = append(rows, fmt.Sprintf("| %s | %s | %d | %d/%d | %d | %d x %d, %d %%, %s | %d | %d | %d |",
				name, f.Arch, k.Regs, k.SpillStores, k.SpillLoads, k.Smem+k.DynamicSmem,
				k.BlocksPerSM, k.Threads, k.Warps, k.Limit, k.Instructions, k.HMMA+k.HGMMA, k.LDGSTS+k.TMA))
		}
	}
	slices.Sort(rows)
	_, err = fmt.Fprintf(w, "ptxas %s\n\n| kernel | target | registers | spills st/ld | shared B | blocks x threads a multiprocessor, warps, limit | instructions | tensor | async copies |\n|---|---|---|---|---|---|---|---|---|\n%s\n",
		r.PTXAS, strings.Join(rows, "\n"))
	return err
}
