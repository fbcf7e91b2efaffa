#!/usr/bin/env bash
# Gives the tests a container tool. Docker, where it answers, needs nothing. Else podman, from Debian's packages, behind
# .cache/podman/podman: a wrapper for machines without CAP_SYS_RESOURCE or with a hybrid cgroup tree. Where no registry
# answers, the base image is made from Debian's own packages (about two minutes). Running it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
if docker info >/dev/null 2>&1; then exit 0; fi
if ((EUID != 0)); then
  echo "containers: neither a docker that answers nor root for podman: the tests that run images will say so" >&2
  exit 0
fi
base=docker.io/library/python:3.11-slim-bookworm
place=$PWD/.cache/podman

missing=()
for package in podman buildah crun netavark aardvark-dns conmon iptables catatonit debootstrap; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi

mkdir -p "$place"
cat >"$place/crun" <<'RUNTIME'
#!/usr/bin/env bash
# crun, for a host that lets nobody raise a resource limit: limits and negative OOM scores are left out of the specification.
spec=
args=("$@")
for ((i = 0; i < ${#args[@]}; i++)); do
  case "${args[i]}" in
    --bundle | -b) spec=${args[i + 1]}/config.json ;;
    --bundle=*) spec=${args[i]#*=}/config.json ;;
    --process | -p) spec=${args[i + 1]} ;;
    --process=*) spec=${args[i]#*=} ;;
  esac
done
if [[ -n $spec && -f $spec ]]; then
  /usr/bin/python3 - "$spec" <<'PY'
import json, sys
path = sys.argv[1]
spec = json.load(open(path))
process = spec.get("process", spec)
process.pop("rlimits", None)
process["oomScoreAdj"] = max(0, process.get("oomScoreAdj", 0))
json.dump(spec, open(path, "w"))
PY
fi
exec /usr/bin/crun "$@"
RUNTIME
cat >"$place/containers.conf" <<CONF
[containers]
cgroups = "enabled"
[engine]
runtime = "crun-here"
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
crun-here = ["$place/crun"]
CONF
cat >"$place/podman" <<'WRAPPER'
#!/usr/bin/env bash
# podman in a mount namespace of its own, in which a hybrid cgroup tree shows its first version only.
set -euo pipefail
place=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CONTAINERS_CONF=$place/containers.conf
mountpoint -q /sys/fs/cgroup/unified || exec /usr/bin/podman "$@"
run=/run/podman-namespace
if ! mountpoint -q "$run/mount" 2>/dev/null; then
  mkdir -p "$run"
  # A namespace can be pinned only on a mount that is private.
  mountpoint -q "$run" || { mount --bind "$run" "$run"; mount --make-private "$run"; }
  : >"$run/mount"
  unshare --mount="$run/mount" sh -c 'mount --make-rprivate / && umount /sys/fs/cgroup/unified'
fi
exec nsenter --mount="$run/mount" --wd="$PWD" /usr/bin/podman "$@"
WRAPPER
chmod +x "$place/crun" "$place/podman"

"$place/podman" image exists "$base" && exit 0
timeout 120 "$place/podman" pull -q "$base" >/dev/null 2>&1 && exit 0
echo "no registry answers: making $base from Debian's packages"
mirror=$(awk '/^URIs: .*\/debian\/?$/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$tree" "$mirror" \
  >"$place/debootstrap.log" 2>&1 || { tail -n 20 "$place/debootstrap.log" >&2; exit 1; }
ln -sf python3 "$tree/usr/bin/python"
cp -L /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
tar -C "$tree" -c . | "$place/podman" import \
  -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'CMD ["python3"]' - "$base" >/dev/null
