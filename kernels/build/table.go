package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// report has the fields of ptxas-check --json that the table needs.
type report struct {
	PTXAS   string
	Results []struct {
		Arch    string
		File    string
		Kernels map[string]resources
	}
}

// resources are those of one kernel.
type resources struct {
	Regs         int
	SpillLoads   int `json:"spill_loads"`
	SpillStores  int `json:"spill_stores"`
	Smem         int
	DynamicSmem  int `json:"dynamic_smem"`
	Threads      int
	BlocksPerSM  int    `json:"blocks_per_sm"`
	Warps        int    `json:"warps_percent"`
	Limit        string // what prevents more blocks
	Instructions int
	HMMA, HGMMA  int
	LDGSTS, TMA  int
	Loop         *struct{ Instructions, Tensor int }
}

const tableBegin, tableEnd = "<!-- ptxas -->\n", "<!-- /ptxas -->\n"

// writeTable writes the report of ptxas-check --json as a table between the markers of a
// page. The kernels of kernels/dev are tests of instructions, and are left out.
func writeTable(page, report string) error {
	b, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	table, err := table(b)
	if err != nil {
		return fmt.Errorf("%s: %w", report, err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	_, after, closed := strings.Cut(rest, tableEnd)
	if !ok || !closed {
		return fmt.Errorf("%s has no %s and %s", page, strings.TrimSpace(tableBegin), strings.TrimSpace(tableEnd))
	}
	return os.WriteFile(page, []byte(before+tableBegin+table+tableEnd+after), 0o644)
}

func tableHead(ptxas string) string {
	return "ptxas " + ptxas + "; spills are bytes, a loop is its instructions / tensor instructions.\n\n" +
		"| kernel | target | registers | spills st/ld | shared B | blocks x threads a multiprocessor, warps, limit | instructions | main loop | tensor | async copies |\n" +
		"|---|---|---|---|---|---|---|---|---|---|\n"
}

func table(b []byte) (string, error) {
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return "", err
	}
	var rows []string
	for _, f := range r.Results {
		if strings.HasPrefix(f.File, "kernels/dev/") {
			continue
		}
		for name, k := range f.Kernels {
			loop := "-"
			if k.Loop != nil {
				loop = fmt.Sprintf("%d/%d", k.Loop.Instructions, k.Loop.Tensor)
			}
			rows = append(rows, fmt.Sprintf("| %s | %s | %d | %d/%d | %d | %d x %d, %d %%, %s | %d | %s | %d | %d |\n",
				name, f.Arch, k.Regs, k.SpillStores, k.SpillLoads, k.Smem+k.DynamicSmem,
				k.BlocksPerSM, k.Threads, k.Warps, k.Limit, k.Instructions, loop, k.HMMA+k.HGMMA, k.LDGSTS+k.TMA))
		}
	}
	slices.Sort(rows)
	return tableHead(r.PTXAS) + strings.Join(rows, ""), nil
}
