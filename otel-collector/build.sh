#!/usr/bin/env bash
# Builds the collector distribution of builder.yaml into .cache/otelcol/otelcol-broker, once for each set of inputs.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$PWD/.cache/otelcol
binary=$place/otelcol-broker
inputs=$(find otel-collector/builder.yaml otel-collector/noprofiles -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
if [[ -x $binary && $(cat "$place/inputs" 2>/dev/null) == "$inputs" ]]; then
  exit 0
fi
command -v go >/dev/null || { echo "go 1.26 or newer is needed to build the collector" >&2; exit 1; }
echo "building the collector distribution (several minutes, once)"
mkdir -p "$place"
rm -rf "$place/noprofiles" "$place/_build"
cp -r otel-collector/noprofiles otel-collector/builder.yaml "$place/"
cd "$place"
go run go.opentelemetry.io/collector/cmd/builder@v0.156.0 --config builder.yaml >build.log 2>&1 \
  || { tail -n 40 build.log >&2; exit 1; }
mv _build/otelcol-broker "$binary"
rm -rf _build
echo "$inputs" >inputs
