#!/usr/bin/env bash
# Generates the one copy of the stubs, proto/telemetry_contract; with --check, fails where that would change them.
# protoc names Python modules by the file's path, and `telemetry` is too general a name to install: the stubs are
# moved to a package of their own, and the one import between them follows.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$bin/python" -m grpc_tools.protoc -I proto \
  --python_out="$out" --mypy_out=quiet:"$out" --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" \
  --plugin=protoc-gen-mypy="$bin/protoc-gen-mypy" --plugin=protoc-gen-mypy_grpc="$bin/protoc-gen-mypy_grpc" \
  proto/telemetry/v1/telemetry.proto
sed -i -E 's/^(from|import) telemetry\.v1\b/\1 telemetry_contract.v1/; s/\b_?telemetry\.v1\.(telemetry_pb2)\b/telemetry_contract.v1.\1/g' "$out"/telemetry/v1/*
stubs=proto/telemetry_contract/v1
if [[ ${1-} == --check ]]; then
  for file in "$out"/telemetry/v1/*; do
    cmp -s "$file" "$stubs/${file##*/}" || { echo "$stubs/${file##*/} differs: run 'make proto'" >&2; exit 1; }
  done
else
  cp "$out"/telemetry/v1/* "$stubs/"
fi
