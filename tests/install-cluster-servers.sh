#!/usr/bin/env bash
# Gives the tests a Kubernetes API server, the controllers of ReplicaSets, Jobs and Argo Rollouts (built with go, seven
# minutes once), and an etcd (from Debian's packages). Running it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v etcd >/dev/null; then
  echo "installing etcd-server"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends etcd-server >/dev/null
fi
place=$PWD/.cache/kubernetes
kubernetes=tests/deployment/kubernetes
rollouts=tests/deployment/rollouts
inputs=$(sha256sum $kubernetes/go.* $kubernetes/controllers/main.go $rollouts/go.* | sha256sum | cut -d' ' -f1)
[[ $(cat "$place/inputs" 2>/dev/null) == "$inputs" ]] && exit 0
if ! command -v go >/dev/null; then
  echo "go is not on this machine: the tests that need an API server will say so" >&2
  exit 0
fi
mkdir -p "$place/rollouts"

# build SOURCES FLAGS PACKAGES: puts the programs into their place; says the end of what the compiler said if it fails.
build() {
  (cd "$1" && go build -mod=readonly -trimpath -o "$place/" -ldflags "-s -w $2" "${@:3}") >"$place/build.log" 2>&1 ||
    { tail -n 20 "$place/build.log" >&2; exit 1; }
}

version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' $kubernetes/go.mod)
minor=${version#v1.}
stamp=k8s.io/component-base/version
stamps="-X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*}"
echo "building the Kubernetes API server and controllers (several minutes, once)"
build $kubernetes "$stamps" k8s.io/kubernetes/cmd/kube-apiserver ./controllers
echo "building Argo Rollouts (some minutes, once)"
build $rollouts "" github.com/argoproj/argo-rollouts/cmd/rollouts-controller
source=$(cd $rollouts && go list -m -f '{{.Dir}}' github.com/argoproj/argo-rollouts)
install -m 644 "$source"/manifests/crds/*-crd.yaml "$place/rollouts/"
echo "$inputs" >"$place/inputs"
