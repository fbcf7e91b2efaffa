#!/usr/bin/env bash
# Follows the pages inside a fresh container: `follow.sh CHECKOUT BLOCKS`. A line for each block: its name, its status.
# The network is loopback only, so every port is the one that the pages name.
set -uo pipefail
cd "$1"
. .venv/bin/activate
make run ORDERS_PER_S=5 >run.log 2>&1 &
run=$!
for _ in $(seq 600); do grep -q 'Ctrl-C drains' run.log && break; kill -0 "$run" || break; sleep 0.1; done
grep -q '^ready after' run.log || { cat run.log; exit 1; }
sed -n 's/^ready after/RUN ready after/p' run.log
# What the pages ask the reader to have at hand: the key that `make run` prints, and the sidecar's file.
sed -n 's/^ *API key *//p' run.log >key
export SIDECAR_CONFIG=$(sed -n 's/^ *files *//p' run.log)/sidecar.toml
for block in "$2"/*.sh; do
  timeout 170 bash -euo pipefail "$block" >"$block.log" 2>&1
  printf 'BLOCK %s %s\n' "$(basename "$block" .sh)" "$?"
done
# What Ctrl-C does; a job of a script ignores SIGINT, and make would end without waiting.
kill -TERM $(cat "/proc/$run/task/$run/children")
wait "$run"
printf 'RUN ended with %s\n' "$?"
