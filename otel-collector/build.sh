#!/usr/bin/env bash
# Builds the collector distributions, once for each set of inputs: builder.yaml into .cache/otelcol/otelcol-broker,
# router/builder.yaml into .cache/otelcol-router/otelcol-router. `build.sh NAME` builds one of them.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

# build NAME PLACE INPUT…: the first input is the manifest.
build() {
  local name=$1 place=$root/.cache/$2 inputs
  shift 2
  inputs=$(find "$@" -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
  if [[ -x $place/$name && $(cat "$place/inputs" 2>/dev/null) == "$inputs" ]]; then
    return
  fi
  command -v go >/dev/null || { echo "go 1.26 or newer is needed to build the collector" >&2; exit 1; }
  echo "building $name (several minutes, once)"
  mkdir -p "$place"
  rm -rf "$place/noprofiles" "$place/_build"
  cp -r "$@" "$place/"
  (cd "$place" && go run go.opentelemetry.io/collector/cmd/builder@v0.156.0 --config builder.yaml >build.log 2>&1) \
    || { tail -n 40 "$place/build.log" >&2; exit 1; }
  mv "$place/_build/$name" "$place/$name"
  rm -rf "$place/_build"
  echo "$inputs" >"$place/inputs"
}

wanted=${1:-all}
if [[ $wanted == all || $wanted == otelcol-broker ]]; then
  build otelcol-broker otelcol otel-collector/builder.yaml otel-collector/noprofiles
fi
if [[ $wanted == all || $wanted == otelcol-router ]]; then
  build otelcol-router otelcol-router otel-collector/router/builder.yaml
fi
