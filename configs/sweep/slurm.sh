#!/bin/sh
# Runs a sweep as a Slurm array; STORE must be a folder that all nodes see.
#
#   sbatch --array=1-16 configs/sweep/slurm.sh JOB.json STORE [OPTIONS OF sweep run...]
#   diadem sweep merge --into STORE STORE      (once the array has ended)
#
# A task that was preempted is queued again and goes on where it was stopped. DIADEM names the program (default: diadem).
#SBATCH --job-name=diadem-sweep
#SBATCH --cpus-per-task=4
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=diadem-sweep-%A-%a.out
set -eu
if [ $# -lt 2 ]; then
  echo "usage: sbatch --array=1-N $0 JOB.json STORE [OPTIONS OF sweep run...]" >&2
  exit 2
fi
job=$1
store=$2
shift 2
# Arrays must start at 1, without gaps.
exec "${DIADEM:-diadem}" sweep run "$job" --store "$store" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
  --threads "${SLURM_CPUS_PER_TASK:-1}" "$@"
