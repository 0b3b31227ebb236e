#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# generate.py on the nodes of a Slurm job; the arguments are passed on:
#
#   sbatch examples/ray/slurm_ray.sh JOB -o OUT
#
# `ray symmetric-run` starts Ray on every node and the command on the first, and at its end stops every Ray of the user on these
# nodes: hence --exclusive.
#SBATCH --job-name=detailflow-ray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
# Slurm runs a copy of this file; it was submitted from the root of the checkout.
generate=$SLURM_SUBMIT_DIR/examples/ray/generate.py
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec srun ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    python "$generate" "$@" --address "$head:6379"
