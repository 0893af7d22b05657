package curriculum

import (
	"encoding/json"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo/report/record"
)

// Ledger counts how often every row of a run has been trained on. The loop keeps it, whatever
// the train_type.
type Ledger struct {
	times []uint16 // per row; saturates at its largest value
	since int      // the step at which counting began: checkpoints of earlier versions have no ledger
}

// NewLedger returns a ledger of that many rows, with all counts 0.
func NewLedger(rows int) *Ledger { return &Ledger{times: make([]uint16, rows)} }

// Deal adds 1 to the counts of rows.
func (l *Ledger) Deal(rows []int) {
	for _, r := range rows {
		if l.times[r] < math.MaxUint16 {
			l.times[r]++
		}
	}
}

// Sum summarises the ledger.
func (l *Ledger) Sum() record.Dealt {
	c := record.Dealt{Rows: len(l.times), FromStep: l.since}
	for _, n := range l.times {
		switch n {
		case 0:
			c.Never++
		case 1:
			c.Once++
		default:
			c.More++
		}
		c.Most, c.Dealt = max(c.Most, int(n)), c.Dealt+int(n)
	}
	return c
}

// ledgerFile is a ledger in a checkpoint.
type ledgerFile struct {
	Rows  int    `json:"rows"`
	Since int    `json:"since,omitempty"`
	Times []byte `json:"times"` // zstd of the counts, low bytes first and then high ones
}

// MarshalJSON compresses the counts, because a run of millions of rows saves them with every
// checkpoint.
func (l *Ledger) MarshalJSON() ([]byte, error) {
	n := len(l.times)
	raw := make([]byte, 2*n)
	for i, t := range l.times {
		raw[i], raw[n+i] = byte(t), byte(t>>8)
	}
	return json.Marshal(ledgerFile{Rows: n, Since: l.since, Times: pack(raw)})
}

// UnmarshalJSON restores them.
func (l *Ledger) UnmarshalJSON(text []byte) error {
	var f ledgerFile
	if err := json.Unmarshal(text, &f); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	raw, err := unpack(f.Times, 2*f.Rows)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.times, l.since = make([]uint16, f.Rows), f.Since
	for i := range l.times {
		l.times[i] = uint16(raw[i]) | uint16(raw[f.Rows+i])<<8
	}
	return nil
}

// Fits returns an error if the ledger is for another number of rows.
func (l *Ledger) Fits(rows int) error {
	if len(l.times) != rows {
		return fmt.Errorf("ledger of %d rows for a run of %d", len(l.times), rows)
	}
	return nil
}

// Since records that counting began at a step.
func (l *Ledger) Since(step int) { l.since = step }
