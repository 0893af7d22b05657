//go:build cgo && linux

package mpi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/drivertest"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/treesum"
)

func device(name string) driver.Device {
	if strings.HasSuffix(name, "on sim") {
		return sim.New(sim.Options{})
	}
	return cpu.New(1)
}

// cases are what the ranks of a job do.
var cases = map[string]func(context.Context, driver.Collective, driver.Device) error{
	"values":        values,
	"values on sim": values,
	"values in pieces": func(ctx context.Context, c driver.Collective, dev driver.Device) error {
		c.(*Job).piece = 100_000
		return values(ctx, c, dev)
	},
	"eight lanes": func(ctx context.Context, c driver.Collective, dev driver.Device) error { return sums(ctx, c, dev, 8) },
	"another call": func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		x := driver.FromHost(make([]float32, 8+2*c.Rank()))
		return c.AllToAll(ctx, x, driver.FromHost(make([]float32, x.Len())))
	},
	"left": func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if c.Rank() == 1 {
			return nil
		}
		return c.Barrier(ctx)
	},
	"late": func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if err := c.Barrier(ctx); err != nil { // all ranks have started
			return err
		}
		limit := 100 * time.Millisecond
		if c.Rank() == 2 { // calls after the others have given up
			<-time.After(3 * limit)
			limit = time.Minute
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return c.Barrier(ctx)
	},
	"aborted": func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if c.Rank() == 1 {
			c.Abort(errors.New("disk full"))
		}
		return c.Barrier(ctx)
	},
	"aborted meanwhile": func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if c.Rank() == 0 {
			go c.Abort(errors.New("disk full"))
		}
		for {
			if err := c.Barrier(ctx); err != nil {
				return err
			}
		}
	},
	"killed": func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if err := c.Barrier(ctx); err != nil {
			return err
		}
		if c.Rank() == 1 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return c.Barrier(ctx)
	},
	"signals": func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGTERM)
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-got:
		case <-ctx.Done():
			return errors.New("SIGTERM did not come")
		}
		return nilDereference()
	},
}

// nilDereference returns nil if Go's own handler turns the fault into a panic.
func nilDereference() (err error) {
	defer func() {
		if recover() == nil {
			err = errors.New("nothing to recover")
		}
	}()
	var p *int
	*p = 1
	return nil
}

func values(ctx context.Context, c driver.Collective, dev driver.Device) error {
	return drivertest.Values(ctx, c, dev, drivertest.Lengths{Floats: []int{0, 1, 7, 1000, 300000}, Bytes: []int{0, 5, 1 << 20}})
}

// sums adds the gradients of that many lanes and prints a hash of the sum.
func sums(ctx context.Context, c driver.Collective, dev driver.Device, lanes int) error {
	const n = 100003
	r, err := treesum.New(dev, c, lanes, n, treesum.Tree)
	if err != nil {
		return err
	}
	defer r.Close()
	x := make([]float32, n)
	for lo, hi := r.Lanes(); lo < hi; lo++ {
		g := rand.New(rand.NewPCG(7, uint64(lo)))
		for i := range x {
			x[i] = float32(g.NormFloat64() * math.Exp2(float64(g.IntN(24)-12)))
		}
		if lo < hi-1 {
			err = r.Add(driver.FromHost(x))
		} else {
			err = r.Sum(ctx, driver.FromHost(x))
		}
		if err != nil {
			return err
		}
	}
	h := sha256.New()
	if err := binary.Write(h, binary.LittleEndian, x); err != nil {
		return err
	}
	fmt.Printf("sum %x\n", h.Sum(nil))
	return nil
}
