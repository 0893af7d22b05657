#!/bin/sh
# Two processes on this machine's CPUs, connected by Open MPI (apt-get install openmpi-bin libopenmpi-dev; make mpi).
# --bind-to none lets them share all processors: without it Open MPI gives each process one.
#   data/examples/cluster/mpirun.sh data/examples/less.yaml
exec mpirun --bind-to none -np "${NP:-2}" "${DATAFLEX:-./bin/dataflex-train}" -config "$@"
