#!/usr/bin/env bash
# prepare_instance.sh v1 CATEGORY NETWORK PROPERTY: ends what an earlier run_instance.sh left behind, and reads both files once.
# Fails where diadem cannot read them. DIADEM names another program, DIADEM_STATE another folder for the marks of running ones.
set -euo pipefail

if [[ $# != 4 || "$1" != v1 ]]; then
  echo "usage: prepare_instance.sh v1 CATEGORY NETWORK PROPERTY" >&2
  exit 2
fi
network="$3" property="$4"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
diadem="${DIADEM:-$root/target/release/diadem}"
state="${DIADEM_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/diadem-vnncomp}"

# A mark is named by process and says when that one started: a number that another process has by now is left alone.
for mark in "$state"/*.pid; do
  [[ -e "$mark" ]] || continue
  pid="$(basename "$mark" .pid)"
  if [[ -s "$mark" && "$(ps -o lstart= -p "$pid" 2>/dev/null)" == "$(cat "$mark")" ]]; then
    kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$mark"
done

# Benchmarks list files that may lie there compressed.
[[ -e "$network" || ! -e "$network.gz" ]] || network="$network.gz"
[[ -e "$property" || ! -e "$property.gz" ]] || property="$property.gz"
"$diadem" inspect --network "$network" --property "$property" >/dev/null
