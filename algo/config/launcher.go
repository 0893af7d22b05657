package config

import (
	"fmt"
	"os"
	"strconv"
)

// worldVariables are what launchers call the number of processes that they start.
var worldVariables = []string{
	"WORLD_SIZE",                                                   // torchrun
	"OMPI_COMM_WORLD_SIZE",                                         // Open MPI
	"PMI_SIZE",                                                     // MPICH, Intel MPI
	"MV2_COMM_WORLD_SIZE",                                          // MVAPICH
	"SLURM_STEP_NUM_TASKS",                                         // srun
	"NNODES", "NPROC_PER_NODE", "PET_NNODES", "PET_NPROC_PER_NODE", // LLaMA-Factory and Kubeflow, which start torchrun by them
}

// severalProcesses is an error where a launcher says that this process is one of several:
// all of them would do the same work and write into one folder.
func severalProcesses() error {
	names := worldVariables
	// A batch script has the job's count of tasks, too, and runs once.
	if os.Getenv("SLURM_STEP_ID") != "" || number("SLURM_PROCID") > 0 {
		names = append(names[:len(names):len(names)], "SLURM_NTASKS")
	}
	for _, name := range names {
		if n := number(name); n > 1 {
			return fmt.Errorf("%s is %d, but one process trains on one device here: start the program once, without torchrun, mpirun or srun of several tasks; ranks: %d in the configuration trains as that many processes would", name, n, n)
		}
	}
	return nil
}

// number is an environment variable that is one, else 0.
func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return 0
	}
	return n
}
