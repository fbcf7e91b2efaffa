#!/usr/bin/env bash
# Gives the tests a Kubernetes API server (built with go, four minutes once) and its etcd (from Debian's packages).
# Running it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v etcd >/dev/null; then
  echo "installing etcd-server"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends etcd-server >/dev/null
fi
place=$PWD/.cache/kubernetes
sources=tests/deployment/apiserver
inputs=$(sha256sum "$sources/go.mod" "$sources/go.sum" | sha256sum | cut -d' ' -f1)
[[ -x $place/kube-apiserver && $(cat "$place/inputs" 2>/dev/null) == "$inputs" ]] && exit 0
if ! command -v go >/dev/null; then
  echo "go is not on this machine: the tests that need an API server will say so" >&2
  exit 0
fi
echo "building the Kubernetes API server (several minutes, once)"
mkdir -p "$place"
version=$(awk '$1 == "require" && $2 == "k8s.io/kubernetes" { print $3 }' "$sources/go.mod")
minor=${version#v1.}
minor=${minor%%.*}
stamp=k8s.io/component-base/version
(cd "$sources" && go build -mod=readonly -trimpath -o "$place/kube-apiserver" \
  -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor" \
  k8s.io/kubernetes/cmd/kube-apiserver) >"$place/build.log" 2>&1 || { tail -n 20 "$place/build.log" >&2; exit 1; }
echo "$inputs" >"$place/inputs"
