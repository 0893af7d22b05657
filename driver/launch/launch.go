// Package launch finds out which of how many processes this one is, from the variables of
// whatever started it: torchrun, mpirun (Open MPI, MPICH, Intel MPI), srun, an indexed
// Kubernetes Job; and whether the program is asked to start its ranks itself, by
// LLaMA-Factory's variables or Kubeflow's.
package launch

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Place is a process's place among those that train together.
type Place struct {
	Launcher   string // how it is called in messages; "" for none
	Rank, Size int    // of all processes
	Local      int    // among the processes of this machine; -1 where nothing says
	LocalSize  int    // likewise
	Addr       string // of rank 0's machine, "" where nothing says
	Port       int    // where rank 0, or torchrun's agent, listens; 0 where nothing says
	AgentStore bool   // torchrun's agent holds the store at Port
	Run        string // tells runs and restarts apart: part of every key in a store
}

// Alone is the place of a process that nothing started as one of several.
var Alone = Place{Size: 1, LocalSize: 1}

// Several says that other processes train with this one.
func (p Place) Several() bool { return p.Size > 1 }

// Store is where the ranks meet, host:port; "" where nothing says.
func (p Place) Store() string {
	if p.Addr == "" || p.Port == 0 {
		return ""
	}
	return net.JoinHostPort(p.Addr, strconv.Itoa(p.Port))
}

// ByMPI says that an MPI library's own launcher started the process, which that library
// then finds its ranks by.
func (p Place) ByMPI() bool {
	return p.Launcher == openMPI || p.Launcher == hydra
}

const (
	torchrun   = "torchrun"
	openMPI    = "Open MPI's mpirun"
	hydra      = "MPICH's or Intel's mpiexec"
	srun       = "srun"
	kubernetes = "a Kubernetes Job"
	ourselves  = "dataflex"
)

// launcher is the names of a launcher's variables. The first row whose rank is there
// decides: mpirun may run inside of a Slurm step, and torchrun inside of either.
type launcher struct {
	name      string
	rank      string
	sizes     []string // the first that is there
	local     string
	localSize string
}

var launchers = []launcher{
	{torchrun, "RANK", []string{"WORLD_SIZE"}, "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
	{openMPI, "OMPI_COMM_WORLD_RANK", []string{"OMPI_COMM_WORLD_SIZE"}, "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
	{hydra, "PMI_RANK", []string{"PMI_SIZE"}, "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
	{srun, "SLURM_PROCID", []string{"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"},
	{kubernetes, "JOB_COMPLETION_INDEX", []string{"JOB_COMPLETIONS"}, "", ""},
}

// unknown are variables of launchers whose processes would each take themselves for the
// only one.
var unknown = []struct{ name, size string }{
	{"MVAPICH's mpirun", "MV2_COMM_WORLD_SIZE"},
	{"HPE's PALS", "PALS_SIZE"},
	{"IBM's jsrun", "JSM_NAMESPACE_SIZE"},
	{"Flux", "FLUX_JOB_SIZE"},
	{"Horovod", "HOROVOD_SIZE"},
	{"a launcher that speaks PMIx", "PMIX_SIZE"},
	{"a launcher that does not set RANK", "WORLD_SIZE"},
}

// Find reads the environment through get (os.Getenv). A launcher that says that there are
// several processes, and is not understood, is an error that names it.
func Find(get func(string) string) (Place, error) {
	for _, l := range launchers {
		if !l.started(get) {
			continue
		}
		p, err := l.place(get)
		if err != nil {
			return p, err
		}
		return p, p.meet(get)
	}
	for _, u := range unknown {
		if n, err := strconv.Atoi(get(u.size)); err == nil && n > 1 {
			return Alone, fmt.Errorf("%s started this process as one of %d (%s), and is not understood: start the ranks with mpirun, srun or torchrun --no-python", u.name, n, u.size)
		}
	}
	return Alone, nil
}

// started says whether the launcher's variables are there. srun sets its own for a batch
// script as well, which is one process: there SLURM_STEP_ID is missing. Kubernetes gives
// every pod of an indexed Job its index, and nobody its number of pods: those that do not
// say it are no ranks, as in a sweep.
func (l launcher) started(get func(string) string) bool {
	switch {
	case get(l.rank) == "":
		return false
	case l.name == srun:
		return get("SLURM_STEP_ID") != ""
	case l.name == kubernetes:
		return get(l.sizes[0]) != ""
	}
	return true
}

func (l launcher) place(get func(string) string) (Place, error) {
	p := Place{Launcher: l.name, Local: -1, LocalSize: -1}
	if l.name == torchrun && get(startedBy) != "" {
		p.Launcher = ourselves
	}
	size := l.sizes[max(0, slices.IndexFunc(l.sizes, func(name string) bool { return get(name) != "" }))]
	var err error
	if p.Rank, err = number(get, l.rank); err == nil {
		p.Size, err = number(get, size)
	}
	switch {
	case err != nil:
		return p, fmt.Errorf("%s started this process, but %w", p.Launcher, err)
	case p.Size < 1 || p.Rank >= p.Size:
		return p, fmt.Errorf("%s says that this is rank %d of %d (%s, %s)", p.Launcher, p.Rank, p.Size, l.rank, size)
	}
	if n, err := number(get, l.local); err == nil {
		p.Local = n
	}
	if n, err := strconv.Atoi(here(get(l.localSize), get("SLURM_NODEID"))); err == nil {
		p.LocalSize = n
	}
	return p, nil
}

// number is a variable that is one, from 0.
func number(get func(string) string, name string) (int, error) {
	text := get(name)
	if text == "" {
		return 0, fmt.Errorf("%s is not set", name)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s=%q is not a number", name, text)
	}
	return n, nil
}

// here is the number of tasks of one machine from Slurm's list of all, "8(x2),4"; other
// launchers give the number itself.
func here(list, node string) string {
	at, _ := strconv.Atoi(node) // not set: the first
	for part := range strings.SplitSeq(list, ",") {
		tasks, times, repeated := strings.Cut(part, "(x")
		n := 1
		if repeated {
			n, _ = strconv.Atoi(strings.TrimSuffix(times, ")")) // 0 is skipped
		}
		if at -= n; at < 0 {
			return tasks
		}
	}
	return ""
}

// meet finds where the ranks meet.
func (p *Place) meet(get func(string) string) error {
	p.Addr = get("MASTER_ADDR")
	if list := get("SLURM_STEP_NODELIST"); p.Addr == "" && list != "" {
		hosts, err := Hosts(list, 1)
		if err != nil {
			return fmt.Errorf("SLURM_STEP_NODELIST: %w", err)
		}
		p.Addr = hosts[0]
	}
	if p.Addr == "" && p.Size == p.LocalSize {
		p.Addr = "127.0.0.1"
	}
	if text := get("MASTER_PORT"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("MASTER_PORT=%q is no port", text)
		}
		p.Port = n
	} else if id := get("SLURM_JOB_ID"); id != "" { // the same on all machines, another one for every step
		job, _ := strconv.Atoi(id)
		step, _ := strconv.Atoi(get("SLURM_STEP_ID"))
		p.Port = 20000 + (job*16+step)%12000 // below those that Linux gives out itself
	}
	p.AgentStore = strings.EqualFold(get("TORCHELASTIC_USE_AGENT_STORE"), "true")
	p.Run = strings.Join([]string{get("TORCHELASTIC_RUN_ID"), get("TORCHELASTIC_RESTART_COUNT"), get("SLURM_JOB_ID"), get("SLURM_STEP_ID")}, "/")
	return nil
}

// Agrees compares what a library says of this process with what its launcher said: an MPI
// under another MPI's mpirun starts as many jobs of one process as there are processes, and
// says nothing.
func (p Place) Agrees(library string, rank, size int) error {
	if p.Size == size && p.Rank == rank {
		return nil
	}
	return fmt.Errorf("%s started this process as rank %d of %d, but %s says rank %d of %d: it was started by another library's launcher; use the mpirun of %s",
		p.Launcher, p.Rank, p.Size, library, rank, size, library)
}
