package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/launch"
	"dataflex.dev/dataflex/driver/nccl"
	"dataflex.dev/dataflex/driver/store"
)

// defaultPort is torchrun's.
const defaultPort = 29500

// joinNCCL connects processes on GPUs: rank 0's identifier of the job reaches the others
// through the store where they meet, torchrun's or rank 0's own.
func joinNCCL(ctx context.Context, p launch.Place, dev driver.Device) (_ driver.Collective, err error) {
	if p.Addr == "" {
		return nil, fmt.Errorf("%s does not say where the ranks meet: set MASTER_ADDR to rank 0's machine, and MASTER_PORT", p.Launcher)
	}
	if p.Port == 0 {
		p.Port = defaultPort
	}
	if p.Rank == 0 && !p.AgentStore {
		s, err := store.Serve(net.JoinHostPort("", strconv.Itoa(p.Port)))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.Drain(ctx), s.Close()) }() // after this rank's own client
	}
	c, err := store.Dial(ctx, p.Store(), "dataflex/"+p.Run+"/")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	const key = "nccl"
	if p.Rank == 0 {
		id, err := nccl.NewID()
		if err == nil {
			err = c.Set(ctx, key, id)
		}
		if err != nil {
			return nil, err
		}
	}
	id, err := c.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return nccl.Open(ctx, id, p.Rank, p.Size, dev)
}
