#!/bin/sh
# Runs a sweep as a task array on HyperQueue, then merges its shards.
# A server and workers must run already: `hq server start &`, and `hq worker start` on every node (or `hq alloc add slurm ...`).
# A shard that is killed or fails is asked again by HyperQueue, or by running this script again: only what is missing is done.
#
#   configs/sweep/hyperqueue.sh JOB.json STORE SHARDS [OPTIONS OF sweep run...]
#
# DIADEM names the program (default: diadem), HQ that of HyperQueue (default: hq), CPUS the cores of a shard (default: 1).
set -eu
if [ $# -lt 3 ]; then
  echo "usage: $0 JOB.json STORE SHARDS [OPTIONS OF sweep run...]" >&2
  exit 2
fi
job=$(realpath "$1")
mkdir -p "$2"
store=$(realpath "$2")
shards=$3
shift 3
diadem=${DIADEM:-diadem}
cpus=${CPUS:-1}
# Status 3 says that something is left, which running the script again will ask.
"${HQ:-hq}" submit --wait --name diadem-sweep --array "1-$shards" --cpus "$cpus" --crash-limit 5 \
  --stdout "$store/shard-%{TASK_ID}.out" --stderr "$store/shard-%{TASK_ID}.err" \
  -- sh -c 'shards=$1; shift; diadem=$1; shift; exec "$diadem" sweep run "$@" --shard "$HQ_TASK_ID/$shards"' \
  sh "$shards" "$diadem" "$job" --store "$store" --threads "$cpus" "$@"
exec "$diadem" sweep merge --into "$store" "$store"
