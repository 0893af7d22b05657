#!/bin/bash
# Two machines of eight GPUs: srun starts a process for each, which find their ranks and where to meet in Slurm's variables.
# SIGTERM two minutes before the end saves a checkpoint; the requeued job goes on from it.
#   sbatch slurm-train.sh less.yaml
#SBATCH --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 --signal=TERM@120 --requeue --open-mode=append
exec srun --kill-on-bad-exit=1 dataflex-train --device cuda -config "$@"
