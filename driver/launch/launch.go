// Package launch finds this process's rank and the number of processes from the variables of
// the launcher that started it: torchrun, mpirun (Open MPI, MPICH, Intel MPI), srun, an
// indexed Kubernetes Job; and whether the program is to start its ranks itself, as requested
// by LLaMA-Factory's variables or Kubeflow's.
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
	Launcher   string // its name in messages; "" for none
	Rank, Size int    // of all processes
	Local      int    // the rank among the processes of this machine; -1 if unknown
	LocalSize  int    // the number of processes of this machine; -1 if unknown
	Addr       string // of rank 0's machine, "" if unknown
	Port       int    // on which rank 0, or torchrun's agent, listens; 0 if unknown
	AgentStore bool   // torchrun's agent serves the store at Port
	Run        string // distinguishes runs and restarts: part of every key in a store
}

// Alone is the place of a process that no launcher started as one of several.
var Alone = Place{Size: 1, LocalSize: 1}

// Several reports whether other processes train with this one.
func (p Place) Several() bool { return p.Size > 1 }

// Store is the address, host:port, of the store where the ranks meet; "" if unknown.
func (p Place) Store() string {
	if p.Addr == "" || p.Port == 0 {
		return ""
	}
	return net.JoinHostPort(p.Addr, strconv.Itoa(p.Port))
}

// ByMPI reports whether an MPI library's own launcher started the process, so that the
// library finds its ranks itself.
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

// launcher has the names of a launcher's variables. The first row whose rank is set decides:
// mpirun may run inside a Slurm step, and torchrun inside either.
type launcher struct {
	name      string
	rank      string
	sizes     []string // the first that is set counts
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

// unknown lists variables of launchers that are not supported; each of their processes would
// take itself for the only one.
var unknown = []struct{ name, size string }{
	{"MVAPICH's mpirun", "MV2_COMM_WORLD_SIZE"},
	{"HPE's PALS", "PALS_SIZE"},
	{"IBM's jsrun", "JSM_NAMESPACE_SIZE"},
	{"Flux", "FLUX_JOB_SIZE"},
	{"Horovod", "HOROVOD_SIZE"},
	{"a launcher that speaks PMIx", "PMIX_SIZE"},
	{"a launcher that does not set RANK", "WORLD_SIZE"},
}

// Find reads the environment through get (os.Getenv). If a launcher that is not supported
// started several processes, the error names it.
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
			return Alone, fmt.Errorf("%s started this process as one of %d (%s), and is not supported: start the ranks with mpirun, srun or torchrun --no-python", u.name, n, u.size)
		}
	}
	return Alone, nil
}

// started reports whether the launcher's variables are set. srun sets its variables for a
// batch script as well, which is one process: there SLURM_STEP_ID is missing. Kubernetes
// gives every pod of an indexed Job its index, but not the number of pods: pods that do not
// have the number are not ranks, as in a sweep.
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

// number reads a variable whose value is an integer of at least 0.
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

// here is the number of tasks of one machine from Slurm's list for all machines, "8(x2),4";
// other launchers give the number itself.
func here(list, node string) string {
	at, _ := strconv.Atoi(node) // not set: the first machine
	for part := range strings.SplitSeq(list, ",") {
		tasks, times, repeated := strings.Cut(part, "(x")
		n := 1
		if repeated {
			n, _ = strconv.Atoi(strings.TrimSuffix(times, ")")) // an error gives 0, which is skipped
		}
		if at -= n; at < 0 {
			return tasks
		}
	}
	return ""
}

// meet finds the address where the ranks meet.
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
			return fmt.Errorf("MASTER_PORT=%q is not a port", text)
		}
		p.Port = n
	} else if id := get("SLURM_JOB_ID"); id != "" { // the same on all machines, different for every step
		job, _ := strconv.Atoi(id)
		step, _ := strconv.Atoi(get("SLURM_STEP_ID"))
		p.Port = 20000 + (job*16+step)%12000 // below the ports that Linux assigns itself
	}
	p.AgentStore = strings.EqualFold(get("TORCHELASTIC_USE_AGENT_STORE"), "true")
	p.Run = strings.Join([]string{get("TORCHELASTIC_RUN_ID"), get("TORCHELASTIC_RESTART_COUNT"), get("SLURM_JOB_ID"), get("SLURM_STEP_ID")}, "/")
	return nil
}

// Agrees compares the rank and size that a library reports with those of the launcher: an
// MPI under another MPI's mpirun starts as many jobs of one process as there are processes,
// without an error.
func (p Place) Agrees(library string, rank, size int) error {
	if p.Size == size && p.Rank == rank {
		return nil
	}
	return fmt.Errorf("%s started this process as rank %d of %d, but %s says rank %d of %d: it was started by another library's launcher; use the mpirun of %s",
		p.Launcher, p.Rank, p.Size, library, rank, size, library)
}
