package ranks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/data/task"
)

// Turn is what a rank wants to do next that needs all of them, because each keeps only a share
// of the model's weights: whoever sets up the turns numbers them.
type Turn uint32

// Nothing is the turn of ranks that have no pass to make: they have come to another call.
const Nothing Turn = 0

// turns are those of a job.
type turns struct {
	along  func(Turn) error // what a rank does in a turn that is not its own; nil: there are no turns
	within bool             // a turn is being taken: calls of the collective belong to it
}

// InTurns makes the ranks go through the model in step with one another from now on: its weights are
// sharded, so that every pass of one rank makes calls of all. Ranks have unlike numbers of passes:
// before each they compare what they want, and the greatest turn comes first. along is what a rank
// does in a turn of others: it makes the same calls of the collective, and computes nothing. The
// other calls of a Job wait until no rank wants a turn, so that methods do not know of them.
func (j *Job) InTurns(along func(Turn) error) { j.turns.along = along }

// Take calls do when it is this rank's turn; until then the rank goes along with the others.
// do makes the same calls of the collective on every rank whose turn it is, by Move, also where
// it fails.
func (j *Job) Take(turn Turn, do func() error) error {
	if j.turns.within {
		panic(fmt.Sprintf("ranks: turn %d within another", turn))
	}
	if err := j.await(turn, "its turn"); err != nil {
		return err
	}
	j.turns.within = true
	defer func() { j.turns.within = false }()
	return do()
}

// settle waits until no rank wants a turn.
func (j *Job) settle(what string) error {
	if j.turns.along == nil {
		return nil
	}
	return j.await(Nothing, what)
}

// await goes along with the other ranks until own is the next turn. what is what comes then, for
// messages.
func (j *Job) await(own Turn, what string) error {
	for {
		next, err := j.next(own, what)
		if err != nil || next == own {
			return err
		}
		if err = j.goAlong(next); err == nil {
			continue
		}
		if j.failed == nil { // this rank alone has failed: the others are within the turn
			j.c.Abort(fmt.Errorf("rank %d on %s, %s: %w", j.Rank(), host(), j.where(what), err))
			err = j.fail(j.lost(what, err))
		}
		return err
	}
}

// goAlong takes part in a turn of other ranks. A panic is an error: the others wait for the calls
// that are missing.
func (j *Job) goAlong(turn Turn) error {
	if j.turns.along == nil {
		return errors.New("the ranks have diverged, because their machines, files or programs differ: they read other weights of the model, or in another order")
	}
	j.turns.within = true
	defer func() { j.turns.within = false }()
	return task.Catch(func() error { return j.turns.along(turn) })
}

// next is the greatest turn that a rank wants.
func (j *Job) next(own Turn, what string) (Turn, error) {
	if j.land(); j.failed != nil {
		return 0, j.failed
	}
	limited, cancel := j.limit(context.Background())
	defer cancel()
	if own == Nothing {
		defer j.watch(what)()
	}
	raw, err := j.c.GatherBytes(limited, binary.LittleEndian.AppendUint32(nil, uint32(own)))
	if err != nil {
		return 0, j.fail(j.lost(what, err))
	}
	wanted := make([]Turn, len(raw))
	for rank, b := range raw {
		if len(b) != 4 {
			return 0, j.fail(&Failed{Own: fmt.Errorf("the ranks have diverged, because their machines, files or programs differ: rank %d sent %d bytes instead of a turn, while rank %d came to %q", rank, len(b), j.Rank(), what)})
		}
		wanted[rank] = Turn(binary.LittleEndian.Uint32(b))
	}
	return slices.Max(wanted), nil
}
