#!/usr/bin/env bash
# Builds the images and prints their sizes. `images.sh [NAME…]`: broker, sidecar, otel-collector (all of them by default).
#   TAG          (dev)      tag of what is built
#   REPOSITORY   (localhost)
#   PYTHON_BASE  base image; by digest (NAME@sha256:…), else the digest that its tag has here is taken and said
#   RELEASE      1 refuses a base by tag: what a tag is changes
#   VERSION, REVISION, SOURCE_DATE_EPOCH  what the labels say; from git where not given
set -euo pipefail
base=${PYTHON_BASE:-docker.io/library/python:3.11-slim-bookworm}
if [[ ${RELEASE:-} == 1 && $base != *@sha256:* ]]; then
  echo "a release names its base by digest: PYTHON_BASE=${base%%:*}@sha256:…" >&2
  exit 64
fi
. "$(dirname "$0")/container-tool.sh"
cd "$root"
names=("$@")
((${#names[@]})) || names=(broker sidecar otel-collector)
version=${VERSION:-$(sed -n 's/^VERSION = "\(.*\)"/\1/p' pod_runtime/__init__.py)}
revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
arguments+=(--build-arg "CREATED=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)")
if [[ $base != *@sha256:* ]]; then
  "$tool" image inspect "$base" >/dev/null 2>&1 || "$tool" pull -q "$base" >/dev/null
  found=$("$tool" image inspect --format '{{if .RepoDigests}}{{index .RepoDigests 0}}{{end}}' "$base")
  base=${found:-$base}
  echo "base: $base" >&2
fi
arguments+=(--build-arg "PYTHON_BASE=$base" --build-arg "CERTIFICATES=$base")
# Annotations of the image specification, for whoever looks for images on an old base.
arguments+=(--label "org.opencontainers.image.base.name=${base%%@*}")
[[ $base != *@* ]] || arguments+=(--label "org.opencontainers.image.base.digest=${base##*@}")
# HEALTHCHECK is Docker's; the OCI format, podman's default, drops it.
"$tool" --version | grep -qi podman && arguments+=(--format docker)

number=0
for name in "${names[@]}"; do
  number=$((number + 1))
  echo "$number/${#names[@]} $name${names[number]:+; next ${names[number]}}" >&2
  [[ $name != otel-collector ]] || otel-collector/build.sh otelcol-broker >&2
  image=${REPOSITORY:-localhost}/$name:${TAG:-dev}
  "$tool" build -q --network=host "${arguments[@]}" -t "$image" -f "Dockerfile.$name" . >/dev/null
  bytes=$("$tool" image inspect --format '{{.Size}}' "$image")
  printf '%-40s %s\n' "$image" "$(numfmt --to=iec-i --suffix=B "$bytes")"
done
