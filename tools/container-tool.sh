# Sourced: `tool` is the container tool to use, docker or podman (CONTAINER_TOOL chooses).
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tool=${CONTAINER_TOOL:-}
for candidate in "$root/.cache/podman/podman" docker podman; do
  [[ -n $tool ]] || ! command -v "$candidate" >/dev/null || tool=$candidate
done
if [[ -z $tool ]]; then
  echo "neither docker nor podman is on this machine: make test-deps, or set CONTAINER_TOOL" >&2
  exit 69
fi
