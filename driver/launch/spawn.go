package launch

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// startedBy is set for ranks that the program started itself.
const startedBy = "DATAFLEX_STARTED_RANKS"

// Spawn describes the ranks that the program starts itself on this machine, which may be one
// of several.
type Spawn struct {
	Ranks       int // on this machine; 0: none, this process trains
	Nodes, Node int
	Addr        string // of the first machine; "" for this one
	Port        int    // 0: any free port
}

// Spawning reads LLaMA-Factory's variables, or torchrun's own PET_ variables, which
// Kubeflow's Trainer sets. gpus is the number of GPUs of this machine: if there are several,
// a rank is started on each of them even without a request, as llamafactory-cli does.
func Spawning(get func(string) string, gpus int) (s Spawn, err error) {
	s = Spawn{Ranks: gpus, Nodes: 1, Addr: get("MASTER_ADDR")}
	if s.Addr == "" {
		s.Addr = get("PET_MASTER_ADDR")
	}
	node := []string{"NODE_RANK", "PET_NODE_RANK"}
	if get("NNODES") != "" {
		node = append(node, "JOB_COMPLETION_INDEX") // a pod of an indexed Job that has the number of pods
	}
	for _, v := range []struct {
		to    *int
		names []string
	}{
		{&s.Ranks, []string{"NPROC_PER_NODE", "PET_NPROC_PER_NODE"}},
		{&s.Nodes, []string{"NNODES", "PET_NNODES"}},
		{&s.Node, node},
		{&s.Port, []string{"MASTER_PORT", "PET_MASTER_PORT"}},
	} {
		if err := first(get, v.to, v.names); err != nil {
			return s, err
		}
	}
	switch {
	case s.Nodes < 1:
		return s, fmt.Errorf("NNODES is %d", s.Nodes)
	case s.Node >= s.Nodes:
		return s, fmt.Errorf("NODE_RANK is %d of %d machines: they are numbered from 0", s.Node, s.Nodes)
	case s.Nodes > 1 && (s.Addr == "" || s.Port == 0):
		return s, fmt.Errorf("NNODES is %d: set MASTER_ADDR and MASTER_PORT, the same on all machines", s.Nodes)
	}
	force := forced(get("FORCE_TORCHRUN"))
	switch {
	case s.Nodes > 1 || force:
		s.Ranks = max(1, s.Ranks)
	case s.Ranks == 1:
		s.Ranks = 0 // this process is the only rank
	}
	return s, nil
}

// forced parses a switch as LLaMA-Factory does: true, y and 1, in any case.
func forced(text string) bool {
	switch strings.ToLower(text) {
	case "true", "y", "1":
		return true
	}
	return false
}

// first reads the first variable that is set to a number; gpu and auto stand for the
// default. A range of machines, min:max, requests an elastic job.
func first(get func(string) string, to *int, names []string) error {
	for _, name := range names {
		text := get(name)
		if text == "" || text == "gpu" || text == "auto" {
			continue
		}
		if lo, hi, elastic := strings.Cut(text, ":"); elastic {
			if lo != hi {
				return fmt.Errorf("%s=%q is a range: a job whose number of machines changes is not supported; a run goes on with another number after a restart", name, text)
			}
			text = lo
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%s=%q is not a number", name, text)
		}
		*to = n
		return nil
	}
	return nil
}

// Environment is the environment of the i-th rank of this machine: that of this process with
// torchrun's variables. addr and port are where rank 0 listens.
func (s Spawn) Environment(i int, addr string, port int) []string {
	var out []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "NNODES", "NPROC_PER_NODE", "NODE_RANK", "FORCE_TORCHRUN": // they have been used
		default:
			if !strings.HasPrefix(name, "PET_") {
				out = append(out, kv)
			}
		}
	}
	return append(out, startedBy+"=1",
		fmt.Sprint("RANK=", s.Node*s.Ranks+i), fmt.Sprint("WORLD_SIZE=", s.Nodes*s.Ranks),
		fmt.Sprint("LOCAL_RANK=", i), fmt.Sprint("LOCAL_WORLD_SIZE=", s.Ranks),
		"MASTER_ADDR="+addr, fmt.Sprint("MASTER_PORT=", port))
}
