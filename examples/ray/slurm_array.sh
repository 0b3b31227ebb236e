#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# A job file on a Slurm cluster without Ray: each task of the array makes its part in the same folder.
#
#   parts=$(sbatch --parsable examples/ray/slurm_array.sh JOB OUT)
#   sbatch --dependency=afterany:$parts --cpus-per-task=4 --wrap "dflow batch JOB -o OUT"
#
# The second command makes what failed tasks left, and then atlases, page, tokens.dftpack and report.json.
#SBATCH --job-name=detailflow
#SBATCH --array=1-16
#SBATCH --cpus-per-task=4
#SBATCH --requeue
exec dflow batch "$1" -o "$2" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
