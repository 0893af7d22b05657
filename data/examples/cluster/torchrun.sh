#!/bin/sh
# A rank for each GPU of this machine. torchrun reads abbreviations of its own options behind the program's name: "--" ends them.
#   data/examples/cluster/torchrun.sh data/examples/less.yaml
exec torchrun --standalone --nproc-per-node gpu --no-python -- "${DATAFLEX:-./bin/dataflex-train}" --device cuda -config "$@"
