#!/bin/bash
# Scores of a pool as a Slurm array: many more shares than GPUs, so that the array levels itself. A share that is there is not made again.
#   J=$(sbatch --parsable --array=1-64%8 --gres=gpu:1 slurm-score.sh less.yaml out)
#   sbatch --dependency=afterok:$J --wrap "dataflex-cli score less.yaml --out out --merge 64"  # --top 100000 also writes the best rows, for dataflex-cli pick
#SBATCH --requeue --open-mode=append --signal=TERM@60
exec dataflex-cli score "$1" --out "$2" --device cuda --shard auto
