#!/usr/bin/env bash
# Generates the Go stubs from the contract. Needs protoc-gen-go and protoc-gen-go-grpc on the PATH:
#   go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
#   go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
set -euo pipefail
cd "$(dirname "$0")/../.."
package=Mtelemetry/v1/telemetry.proto=broker-sidecar/example/telemetry
mkdir -p examples/go/telemetry
"${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc -I proto \
  --go_out=examples/go/telemetry --go_opt=paths=source_relative,"$package" \
  --go-grpc_out=examples/go/telemetry --go-grpc_opt=paths=source_relative,"$package" \
  telemetry/v1/telemetry.proto
mv examples/go/telemetry/telemetry/v1/*.go examples/go/telemetry/
rm -r examples/go/telemetry/telemetry
