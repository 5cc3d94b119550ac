#!/usr/bin/env bash
# install_tool.sh v1: builds diadem, and installs first what that needs and the machine lacks.
set -euo pipefail

if [[ "${1:-}" != v1 ]]; then
  echo "usage: install_tool.sh v1" >&2
  exit 2
fi
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

if ! command -v cc >/dev/null || ! ldconfig -p 2>/dev/null | grep -q libvulkan.so.1; then
  if command -v apt-get >/dev/null; then
    as_root=()
    [[ "$(id -u)" == 0 ]] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    # A linker, and the loader through which GPUs are reached; their drivers bring the rest.
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends build-essential libvulkan1
  fi
fi
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
if ! command -v cargo >/dev/null; then
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
fi

cargo build --release --locked --manifest-path "$root/Cargo.toml" --target-dir "$root/target"
"$root/target/release/diadem" devices
