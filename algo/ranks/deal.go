package ranks

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"fmt"
)

// Deal shares n pieces of work out in turn. A rank makes its own with each; take receives
// the results of all, on every rank, in the order of the pieces. It works in rounds: each rank makes one
// piece, and then take is called with all of them.
func (j *Job) Deal(ctx context.Context, what string, n int, each func(i int) ([]byte, error), take func(i int, result []byte) error) error {
	size := j.Size()
	var held error // of take, which the next call sends to the others
	for first := 0; first < n; first += size {
		if err := ctx.Err(); err != nil {
			return err
		}
		var own []byte
		err := held
		if i := first + j.Rank(); i < n && err == nil {
			own, err = each(i)
		}
		all, err := j.Gather(ctx, what, own, err)
		if err != nil {
			return err
		}
		for k, result := range all {
			if i := first + k; i < n && held == nil {
				held = take(i, result)
			}
		}
	}
	if held != nil {
		return j.Agree(ctx, what, held)
	}
	return nil
}

// Pack encodes numbers as bytes for Unpack.
func Pack[T float32 | float64](numbers ...[]T) []byte {
	var b []byte
	for _, x := range numbers {
		b, _ = binary.Append(b, binary.LittleEndian, x) // numbers have a size
	}
	return b
}

// Unpack reads what Pack wrote into slices of the same lengths.
func Unpack[T float32 | float64](b []byte, numbers ...[]T) error {
	for _, x := range numbers {
		n, err := binary.Decode(b, binary.LittleEndian, x)
		if err != nil {
			return fmt.Errorf("another rank's numbers: %w", err)
		}
		b = b[n:]
	}
	if len(b) > 0 {
		return fmt.Errorf("another rank's numbers: %d bytes too many", len(b))
	}
	return nil
}

// Share gathers the values of all ranks on every rank, in the order of ranks.
func Share[T any](ctx context.Context, j *Job, what string, own T, err error) ([]T, error) {
	if j == nil {
		return []T{own}, err
	}
	var b bytes.Buffer
	if err == nil {
		err = gob.NewEncoder(&b).Encode(own)
	}
	raw, err := j.Gather(ctx, what, b.Bytes(), err)
	if err != nil {
		return nil, err
	}
	out := make([]T, len(raw))
	for rank, text := range raw {
		if rank == j.Rank() {
			out[rank] = own
			continue
		}
		if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&out[rank]); err != nil {
			return nil, j.fail(&Failed{Own: fmt.Errorf("%s: rank %d sent a message that cannot be decoded: %w", what, rank, err)})
		}
	}
	return out, nil
}

// Decided gives all ranks the value that ask returns on rank 0; the other ranks do not call it.
func Decided[T any](ctx context.Context, j *Job, what string, ask func(context.Context) (T, error)) (value T, err error) {
	if j == nil {
		return ask(ctx)
	}
	raw, err := j.Decide(ctx, what, func(ctx context.Context) ([]byte, error) {
		var b bytes.Buffer
		own, err := ask(ctx)
		if err == nil {
			value = own
			err = gob.NewEncoder(&b).Encode(own)
		}
		return b.Bytes(), err
	})
	if err != nil || j.First() {
		return value, err
	}
	if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&value); err != nil {
		return value, j.fail(&Failed{Own: fmt.Errorf("%s: the message of rank 0 cannot be decoded: %w", what, err)})
	}
	return value, nil
}
