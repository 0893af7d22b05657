package main

import "strings"

// variable is an environment variable.
type variable struct{ name, help string }

// variables are those that the programs read; data/examples/environment.md is generated from
// them.
var variables = []variable{
	{"DATAFLEX_CACHE", "the folder of cached tokens and features that runs reuse (default `dataflex` in HF_DATASETS_CACHE or HF_HOME where one is set, else in the user's cache folder)"},
	{"HF_DATASETS_CACHE", "Hugging Face's folder of data sets"},
	{"XDG_CACHE_HOME", "the user's cache folder, if none of the above is set"},
	{"DATAFLEX_LIBCUDA", "another libcuda.so than the system's"},
	{"DATAFLEX_COINCIDE_EMBEDDING_MODEL", "coincide's embedding_model_name_or_path, where the component has none"},
	{"HF_HOME", "Hugging Face's folder: models and data sets are in its `hub`"},
	{"HF_HUB_CACHE", "the `hub` folder itself; `HUGGINGFACE_HUB_CACHE` is the older name"},
	{"HUGGINGFACE_HUB_CACHE", "the older name of HF_HUB_CACHE"},
	{"HF_ENDPOINT", "the hub that `download` asks (default https://huggingface.co)"},
	{"HF_TOKEN", "the token that `download` sends to the hub; never printed. `HUGGING_FACE_HUB_TOKEN` is the older name"},
	{"HUGGING_FACE_HUB_TOKEN", "the older name of HF_TOKEN"},
	{"HF_TOKEN_PATH", "the file of the token where HF_TOKEN is not set"},
	{"HF_HUB_OFFLINE", "`download` refuses to run"},
	{"MODELSCOPE_CACHE", "ModelScope's folder"},
	{"USE_MODELSCOPE_HUB", "names are looked up in ModelScope's cache first"},
	{"OMP_NUM_THREADS", "threads of the arithmetic on a CPU (default: all processors)"},
	{"GOMAXPROCS", "threads of everything else"},
	{"GOMEMLIMIT", "the Go runtime's soft limit of memory"},
	{"CUDA_VISIBLE_DEVICES", "the GPUs that NVIDIA's driver makes visible"},
	{"MLFLOW_TRACKING_URI", "`report_to: mlflow`: the folder of its file store"},
	{"MLFLOW_EXPERIMENT_NAME", "the experiment in it"},
	{"ALLOW_EXTRA_ARGS", "unknown keys are warnings, as in LLaMA-Factory"},
	{"SOURCE_DATE_EPOCH", "the date that chat templates show, in seconds since 1970"},
	{"NO_COLOR", "log lines without colour"},
	{"TERM", "`dumb`: a terminal without progress lines and colour"},
	{"DATAFLEX_MPI", "the MPI plugin of `make mpi`, or a libmpi_abi.so, that connects processes on CPUs (default: beside the program, then where the loader looks)"},
	{"DATAFLEX_LIBNCCL", "the libnccl.so.2 that connects GPUs (default: where the loader looks, then PyTorch's)"},
	{"WORLD_SIZE", "with `RANK`, `LOCAL_RANK`, `LOCAL_WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`: this process's place among those that train together, as torchrun sets them; so do `OMPI_COMM_WORLD_SIZE` (Open MPI), `PMI_SIZE` (MPICH, Intel MPI), `SLURM_STEP_NUM_TASKS` (srun) and `JOB_COMPLETION_INDEX` with `JOB_COMPLETIONS` (Kubernetes) with what goes with each. A launcher that is not understood is refused"},
	{"NPROC_PER_NODE", "with `NNODES`, `NODE_RANK`, `MASTER_ADDR`, `MASTER_PORT` and `FORCE_TORCHRUN`, or Kubeflow's `PET_` ones: how many ranks the program starts itself, on GPUs"},
	{"PET_NPROC_PER_NODE", "Kubeflow's NPROC_PER_NODE"},
	{"PMI_RANK", "MPI knows of this process (MPICH, Intel MPI, srun --mpi=pmi2)"},
	{"PMIX_RANK", "the same (Open MPI, srun --mpi=pmix)"},
	{"TORCHELASTIC_RUN_ID", "torchrun has started this process: an `OMP_NUM_THREADS` of 1 is its own and not followed"},
	{"SLURM_ARRAY_TASK_ID", "with `SLURM_ARRAY_TASK_COUNT`, `_MIN` and `_MAX`: the share of `score --shard auto`; so does `JOB_COMPLETION_INDEX`"},
	{"REPORT_SCREENSHOTS", "a folder in which the tests of the report save pictures of its pages"},
	{"SLURM_STEP_ID", "tells a step of several tasks from the batch script around it"},
}

// environmentPage is data/examples/environment.md.
func environmentPage() string {
	var b strings.Builder
	b.WriteString("# Environment variables\n\nThe variables that the programs read; `dataflex-cli env` prints those that are set. The key of a judge is read from the variable that `reward_key_env` names.\n\n| variable | |\n|---|---|\n")
	for _, v := range variables {
		b.WriteString("| `" + v.name + "` | " + v.help + " |\n")
	}
	return b.String()
}
