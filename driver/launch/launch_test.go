package launch

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// env returns the variables of "A=1 B=2".
func env(s string) func(string) string {
	m := map[string]string{}
	for kv := range strings.FieldsSeq(s) {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return func(k string) string { return m[k] }
}

// TestFind: the variables that torchrun 2.7.1, Open MPI 4.1.4, MPICH 4.0.2 and Slurm 22.05
// were seen to set for their processes, and those that Kubernetes documents for pods of an
// indexed Job.
func TestFind(t *testing.T) {
	for _, c := range []struct {
		name, env string
		want      Place
	}{
		{"nothing", "", Alone},
		{
			"torchrun, restarted, inside of a Slurm step",
			"RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=n0 MASTER_PORT=29500 TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RUN_ID=r TORCHELASTIC_RESTART_COUNT=2 SLURM_PROCID=1 SLURM_STEP_ID=0",
			Place{torchrun, 3, 4, 1, 2, "n0", 29500, true, "r/2//0"},
		},
		{
			"Open MPI",
			"OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2 PMIX_RANK=1",
			Place{openMPI, 1, 2, 1, 2, "127.0.0.1", 0, false, "///"},
		},
		{"MPICH", "PMI_RANK=0 PMI_SIZE=2 MPI_LOCALRANKID=0 MPI_LOCALNRANKS=2", Place{hydra, 0, 2, 0, 2, "127.0.0.1", 0, false, "///"}},
		{
			"srun",
			"SLURM_PROCID=5 SLURM_NTASKS=16 SLURM_LOCALID=5 SLURM_STEP_TASKS_PER_NODE=8(x2) SLURM_STEP_ID=3 SLURM_JOB_ID=77 SLURM_STEP_NODELIST=gpu[07-08]",
			Place{srun, 5, 16, 5, 8, "gpu07", 21235, false, "//77/3"},
		},
		{
			"a step of fewer tasks than the job, on machines with different numbers of them",
			"SLURM_PROCID=8 SLURM_NTASKS=16 SLURM_STEP_NUM_TASKS=10 SLURM_LOCALID=0 SLURM_NODEID=1 SLURM_STEP_TASKS_PER_NODE=8,2 SLURM_STEP_ID=0 SLURM_JOB_ID=1 SLURM_STEP_NODELIST=a,b",
			Place{srun, 8, 10, 0, 2, "a", 20016, false, "//1/0"},
		},
		{"the batch script itself", "SLURM_PROCID=0 SLURM_NTASKS=16 SLURM_JOB_ID=77", Alone},
		{"an indexed Job", "JOB_COMPLETION_INDEX=1 JOB_COMPLETIONS=2 MASTER_ADDR=train-0.train MASTER_PORT=29500", Place{kubernetes, 1, 2, -1, -1, "train-0.train", 29500, false, "///"}},
		{"a sweep", "JOB_COMPLETION_INDEX=1", Alone},
		{"ours", "DATAFLEX_STARTED_RANKS=1 RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=40001", Place{ourselves, 1, 2, 1, 2, "127.0.0.1", 40001, false, "///"}},
		{"one process of a launcher that is not known", "FLUX_JOB_SIZE=1", Alone},
	} {
		if got, err := Find(env(c.env)); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	for bad, says := range map[string]string{
		"RANK=0":                                    "torchrun started this process, but WORLD_SIZE is not set",
		"RANK=2 WORLD_SIZE=2":                       "rank 2 of 2",
		"RANK=x WORLD_SIZE=2":                       `RANK="x"`,
		"RANK=0 WORLD_SIZE=2 MASTER_PORT=x":         `MASTER_PORT="x"`,
		"WORLD_SIZE=2":                              "does not set RANK",
		"MV2_COMM_WORLD_SIZE=4":                     "MVAPICH",
		"FLUX_JOB_SIZE=4":                           "Flux",
		"JSM_NAMESPACE_SIZE=4":                      "jsrun",
		"PALS_SIZE=2":                               "PALS",
		"OMPI_COMM_WORLD_RANK=0":                    "Open MPI",
		"SLURM_PROCID=0 SLURM_STEP_ID=0":            "SLURM_STEP_NUM_TASKS is not set",
		"PMI_RANK=-1 PMI_SIZE=2 SLURM_STEP_ID=":     `PMI_RANK="-1"`,
		"RANK=0 WORLD_SIZE=2 SLURM_STEP_NODELIST=]": "host list",
	} {
		if got, err := Find(env(bad)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v; expected an error with %q", bad, got, err, says)
		}
	}
}

func TestHosts(t *testing.T) {
	for list, want := range map[string][]string{
		"a":                 {"a"},
		"a,b":               {"a", "b"},
		"n[1-3,07-08],m2":   {"n1", "n2", "n3", "n07", "n08", "m2"},
		"r[1-2]c[1,3].site": {"r1c1.site", "r1c3.site", "r2c1.site", "r2c3.site"},
	} {
		if got, err := Hosts(list, 0); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	for _, bad := range []string{"", "a[1-", "a[3-1]", "a[x]", "a]1[", "a[0-99999999]"} {
		if got, err := Hosts(bad, 0); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func FuzzHosts(f *testing.F) {
	f.Add("r[1-2]c[1,3].site,b", 1)
	f.Fuzz(func(t *testing.T, list string, n int) {
		if hosts, err := Hosts(list, n%4); err == nil && len(hosts) == 0 {
			t.Errorf("%q names nobody, and that is no error", list)
		}
	})
}

func TestSpawning(t *testing.T) {
	for _, c := range []struct {
		env  string
		gpus int
		want Spawn
	}{
		{"", 0, Spawn{0, 1, 0, "", 0}},
		{"", 1, Spawn{0, 1, 0, "", 0}},
		{"", 8, Spawn{8, 1, 0, "", 0}}, // llamafactory-cli uses all GPUs
		{"FORCE_TORCHRUN=1", 1, Spawn{1, 1, 0, "", 0}},
		{"FORCE_TORCHRUN=0", 1, Spawn{0, 1, 0, "", 0}},
		{"NPROC_PER_NODE=2", 8, Spawn{2, 1, 0, "", 0}},
		{"NPROC_PER_NODE=1", 8, Spawn{0, 1, 0, "", 0}},
		{"FORCE_TORCHRUN=1 NNODES=2 NODE_RANK=1 MASTER_ADDR=h MASTER_PORT=29500", 4, Spawn{4, 2, 1, "h", 29500}},
		{"NNODES=2 JOB_COMPLETION_INDEX=1 MASTER_ADDR=h MASTER_PORT=29500", 0, Spawn{1, 2, 1, "h", 29500}},
		{"PET_NNODES=2:2 PET_NPROC_PER_NODE=gpu PET_NODE_RANK=1 PET_MASTER_ADDR=h PET_MASTER_PORT=29400", 4, Spawn{4, 2, 1, "h", 29400}},
	} {
		if got, err := Spawning(env(c.env), c.gpus); err != nil || got != c.want {
			t.Errorf("%q, %d GPUs: %+v, %v, want %+v", c.env, c.gpus, got, err, c.want)
		}
	}
	for _, bad := range []string{"NNODES=2", "NPROC_PER_NODE=x", "NNODES=2 NODE_RANK=2 MASTER_ADDR=h MASTER_PORT=1", "NNODES=0", "NNODES=1:4 MASTER_ADDR=h MASTER_PORT=1"} {
		if got, err := Spawning(env(bad), 1); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// TestSpawnedFindThemselves: Find reads the environment that a spawned rank gets.
func TestSpawnedFindThemselves(t *testing.T) {
	t.Setenv("NPROC_PER_NODE", "2")
	t.Setenv("PET_NNODES", "2")
	got := Spawn{Ranks: 2, Nodes: 2, Node: 1}.Environment(1, "h", 29500)
	p, err := Find(env(strings.Join(slices.DeleteFunc(got, func(kv string) bool { return strings.ContainsAny(kv, " \n") }), " ")))
	if err != nil || p.Rank != 3 || p.Size != 4 || p.Local != 1 || p.LocalSize != 2 || p.Store() != "h:29500" || p.Launcher != ourselves {
		t.Errorf("%+v, %v", p, err)
	}
	if slices.ContainsFunc(got, func(kv string) bool { return strings.HasPrefix(kv, "NPROC_") || strings.HasPrefix(kv, "PET_") }) {
		t.Error("a spawned rank is asked to spawn again")
	}
}

func TestAgrees(t *testing.T) {
	p, err := Find(env("OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Agrees("Open MPI", 1, 2); err != nil {
		t.Error(err)
	}
	if err := p.Agrees("MPICH 4", 0, 1); err == nil || !strings.Contains(err.Error(), "another library's launcher") {
		t.Error(err)
	}
}
