#!/usr/bin/env bash
# Generates the one copy of the stubs beside the contract; with --check, fails where that would change them.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$bin/python" -m grpc_tools.protoc -I proto \
  --python_out="$out" --mypy_out=quiet:"$out" --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" \
  --plugin=protoc-gen-mypy="$bin/protoc-gen-mypy" --plugin=protoc-gen-mypy_grpc="$bin/protoc-gen-mypy_grpc" \
  proto/telemetry/v1/telemetry.proto
if [[ ${1-} == --check ]]; then
  for file in "$out"/telemetry/v1/*; do
    cmp -s "$file" "proto/telemetry/v1/${file##*/}" || { echo "proto/telemetry/v1/${file##*/} differs: run 'make proto'" >&2; exit 1; }
  done
else
  cp "$out"/telemetry/v1/* proto/telemetry/v1/
fi
