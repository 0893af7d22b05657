package ranks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	forward  Turn = 1
	backward Turn = 2
)

// TestTurns: ranks with unlike numbers of passes make the same calls in the same order, each
// its own passes and those of the others along, and come to the calls between them together.
func TestTurns(t *testing.T) {
	phases := [][3][]Turn{ // what each rank has to do until all of them meet
		{{}, {forward}, {forward, forward}},
		{},
		{{forward}, {}, {backward, forward}},
		{},
	}
	taken := make([][]string, 3)
	for rank, err := range together(t, 3, func(ctx context.Context, j *Job) error {
		say := func(turn Turn, own bool) error {
			return j.Move(ctx, "weights", func(ctx context.Context) error {
				all, err := j.c.GatherBytes(ctx, []byte{byte(turn)})
				if err != nil {
					return err
				}
				for _, b := range all {
					if b[0] != byte(turn) {
						return fmt.Errorf("turns %v", all)
					}
				}
				taken[j.Rank()] = append(taken[j.Rank()], fmt.Sprint(turn, own))
				return nil
			})
		}
		j.InTurns(func(turn Turn) error { return say(turn, false) })
		for phase, of := range phases {
			for _, turn := range of[j.Rank()] {
				if err := j.Take(turn, func() error { return say(turn, true) }); err != nil {
					return err
				}
			}
			if err := j.Agree(ctx, fmt.Sprint("phase ", phase), nil); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
	for rank, own := range [][]string{
		{"1 false", "1 false", "2 false", "1 true"},
		{"1 true", "1 false", "2 false", "1 false"},
		{"1 true", "1 true", "2 true", "1 true"},
	} {
		if !slices.Equal(taken[rank], own) {
			t.Errorf("rank %d took %v, want %v", rank, taken[rank], own)
		}
	}
}

// TestTurnFails: where a pass fails after it has made its calls all ranks are told at their next
// call; where a rank cannot go along with the others, by an error or a panic, the job ends on all of
// them.
func TestTurnFails(t *testing.T) {
	broken := errors.New("a planted fault")
	for _, along := range []func() error{nil, func() error { return broken }, func() error { panic(broken) }} {
		failsAlong := along != nil
		for rank, err := range together(t, 3, func(ctx context.Context, j *Job) error {
			move := func() error {
				return j.Move(ctx, "weights", func(ctx context.Context) error { _, err := j.c.GatherBytes(ctx, nil); return err })
			}
			j.At("step 7")
			j.InTurns(func(Turn) error {
				if failsAlong && j.Rank() == 2 {
					return along()
				}
				return move()
			})
			var err error
			if j.Rank() < 2 {
				err = j.Take(forward, func() error {
					if err := move(); err != nil || failsAlong || j.Rank() == 0 {
						return err
					}
					return broken
				})
			}
			return j.Agree(ctx, "losses", err)
		}) {
			var lost *Lost
			switch {
			case !failsAlong && !(Told(err) && strings.Contains(err.Error(), broken.Error())):
				t.Errorf("rank %d: %v", rank, err)
			case failsAlong && !(errors.As(err, &lost) && strings.Contains(err.Error(), broken.Error()) && strings.Contains(err.Error(), "step 7, ")):
				t.Errorf("rank %d: %v", rank, err)
			}
		}
	}
}

// TestUnlikeTurns: ranks that read unlike weights while their models are built end with an error.
func TestUnlikeTurns(t *testing.T) {
	for rank, err := range together(t, 2, func(ctx context.Context, j *Job) error {
		return j.Take(Turn(1+j.Rank()), func() error {
			return j.Move(ctx, "weights", func(ctx context.Context) error { _, err := j.c.GatherBytes(ctx, nil); return err })
		})
	}) {
		if err == nil || !strings.Contains(err.Error(), "the ranks have diverged") {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}
