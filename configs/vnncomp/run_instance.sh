#!/usr/bin/env bash
# run_instance.sh v1 CATEGORY NETWORK PROPERTY RESULTS TIMEOUT: decides one instance. The first line of RESULTS is sat, unsat, unknown,
# timeout or error; after sat comes the counterexample. DIADEM and DIADEM_STATE are those of prepare_instance.sh, DIADEM_DEVICE
# chooses a device.
set -uo pipefail

if [[ $# != 6 || "$1" != v1 ]]; then
  echo "usage: run_instance.sh v1 CATEGORY NETWORK PROPERTY RESULTS TIMEOUT" >&2
  exit 2
fi
network="$3" property="$4" results="$5" timeout="$6"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
diadem="${DIADEM:-$root/target/release/diadem}"
state="${DIADEM_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/diadem-vnncomp}"

# Whoever ends this script does so for the time it took.
echo timeout >"$results" || exit 2
scratch="$(mktemp -d)" && mkdir -p "$state" || exit 2
pid=""
finish() {
  if [[ -n "$pid" ]]; then
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    rm -f "$state/$pid.pid"
  fi
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

[[ -e "$network" || ! -e "$network.gz" ]] || network="$network.gz"
[[ -e "$property" || ! -e "$property.gz" ]] || property="$property.gz"
"$diadem" verify --network "$network" --property "$property" --timeout-s "$timeout" \
  --counterexample "$scratch/counterexample" --json "$scratch/result.json" &
pid=$!
ps -o lstart= -p "$pid" >"$state/$pid.pid" 2>/dev/null
wait "$pid"
status=$?
rm -f "$state/$pid.pid"
pid=""

if [[ "$status" == 0 ]]; then
  echo unsat >"$results"
elif [[ "$status" == 1 && -s "$scratch/counterexample" ]]; then
  { echo sat && cat "$scratch/counterexample"; } >"$results"
elif [[ "$status" == 3 ]] && grep -q '"reason": *"time limit"' "$scratch/result.json"; then
  echo timeout >"$results"
elif [[ "$status" == 3 ]]; then
  echo unknown >"$results"
else
  echo error >"$results"
fi
