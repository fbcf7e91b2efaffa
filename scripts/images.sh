#!/usr/bin/env bash
# Builds the images and prints their sizes. `images.sh [NAME…]`: broker, sidecar, otel-collector (all of them by default).
#   TAG          (dev)      tag of what is built
#   REPOSITORY   (localhost)
#   PYTHON_BASE  base image of broker and sidecar; a release gives it by digest
#   VERSION, REVISION, SOURCE_DATE_EPOCH  what the labels say; from git where not given
set -euo pipefail
. "$(dirname "$0")/container-tool.sh"
cd "$root"
names=("$@")
((${#names[@]})) || names=(broker sidecar otel-collector)
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
arguments+=(--build-arg "CREATED=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)")
[[ -z ${PYTHON_BASE:-} ]] || arguments+=(--build-arg "PYTHON_BASE=$PYTHON_BASE")
# HEALTHCHECK is Docker's; the OCI format, podman's default, drops it.
"$tool" --version | grep -qi podman && arguments+=(--format docker)

for name in "${names[@]}"; do
  [[ $name != otel-collector ]] || otel-collector/build.sh >&2
  image=${REPOSITORY:-localhost}/$name:${TAG:-dev}
  "$tool" build -q --network=host "${arguments[@]}" -t "$image" -f "Dockerfile.$name" . >/dev/null
  bytes=$("$tool" image inspect --format '{{.Size}}' "$image")
  printf '%-40s %s\n' "$image" "$(numfmt --to=iec-i --suffix=B "$bytes")"
done
