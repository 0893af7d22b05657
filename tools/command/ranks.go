package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/launch"
	"dataflex.dev/dataflex/driver/mpi"
	"dataflex.dev/dataflex/driver/nccl"
	"dataflex.dev/dataflex/model/decoder"
)

// together says how the process trains with others: by itself, as one of the ranks that a
// launcher started, or as the one that starts the ranks. Where they cannot be connected it
// says what is missing, before anything is read.
func together(o *train.Options, c *config.Config) (spawn launch.Spawn, err error) {
	gpus := 0
	auto := (o.Device == "" && !c.Training.UseCPU || o.Device == "auto") && decoder.HostOnly(c.Model.NameOrPath) == ""
	if auto || strings.HasPrefix(o.Device, "cuda") {
		if n, err := cuda.Available(); err == nil && cuda.Built {
			gpus = n
		}
	}
	if !o.Place.Several() {
		return spawned(o, gpus)
	}
	o.Join = func(ctx context.Context, dev driver.Device) (driver.Collective, error) {
		if dev.Kind() == driver.CUDA {
			return joinNCCL(ctx, o.Place, dev)
		}
		return mpi.Open(ctx, mpi.Want{Rank: o.Place.Rank, Size: o.Place.Size}, dev)
	}
	if gpus > 0 {
		return spawn, nil
	}
	return spawn, knownToMPI(o.Place)
}

// spawned is what LLaMA-Factory's variables ask for; no ranks where this process trains
// alone. Several GPUs that nobody has asked for are taken where NCCL can connect them.
func spawned(o *train.Options, gpus int) (spawn launch.Spawn, err error) {
	if strings.Contains(o.Device, ":") {
		gpus = min(gpus, 1)
	}
	if spawn, err = launch.Spawning(os.Getenv, gpus); err != nil {
		return spawn, err
	}
	switch n := spawn.Nodes * spawn.Ranks; {
	case n <= 1:
		spawn.Ranks = 0
	case gpus == 0:
		return spawn, fmt.Errorf("%d processes are asked for (NPROC_PER_NODE, NNODES), and on CPUs MPI connects them, which starts its ranks itself: unset these variables and run: mpirun --bind-to none -np %d %s", n, n, strings.Join(os.Args, " "))
	case os.Getenv("NPROC_PER_NODE") == "" && os.Getenv("PET_NPROC_PER_NODE") == "" && spawn.Nodes == 1:
		if _, err := nccl.NewID(); err != nil {
			o.Log.Warn("one of several GPUs is used: what would connect them is missing", "gpus", gpus, "error", err)
			spawn.Ranks = 0
		}
	}
	return spawn, nil
}

// knownToMPI is an error where MPI cannot know of the processes that a launcher started.
func knownToMPI(p launch.Place) error {
	if p.ByMPI() || os.Getenv("PMIX_RANK") != "" || os.Getenv("PMI_RANK") != "" {
		return nil
	}
	return fmt.Errorf("%s started this process as one of %d; on CPUs MPI connects them, and MPI does not know of them: start them with mpirun --bind-to none -np %d %s, or with srun --mpi=pmix; on GPUs NCCL connects them", p.Launcher, p.Size, p.Size, strings.Join(os.Args, " "))
}

// errOfRank is what a rank ends with, of an error that rank 0 has said already.
type errOfRank struct{ error }

func (e errOfRank) Is(target error) bool { return target == ErrSaid || errors.Is(e.error, target) }

// sayOnce is an error that the ranks of a machine have alike: the first of them says it.
func sayOnce(p launch.Place, err error) error {
	if p.Local > 0 {
		return errOfRank{err}
	}
	return rankError(p, err)
}

// rankError is the error of one of several ranks: rank 0 says for all of them what all
// have been told.
func rankError(p launch.Place, err error) error {
	switch {
	case err == nil || p.Rank == 0:
		return err
	case ranks.Told(err), errors.Is(err, train.ErrInterrupted), errors.Is(err, context.Canceled):
		return errOfRank{err}
	}
	if alike := (*train.Alike)(nil); errors.As(err, &alike) && p.Local > 0 {
		return errOfRank{err} // the first of the machine says it
	}
	if lost := (*ranks.Lost)(nil); errors.As(err, &lost) { // it names its rank
		return err
	}
	host, _ := os.Hostname()
	return fmt.Errorf("rank %d on %s: %w", p.Rank, host, err)
}
