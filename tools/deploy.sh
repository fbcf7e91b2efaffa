#!/usr/bin/env bash
# Shows what a deployment would change, asks, and does it: deploy.sh dev|staging|production.
#   IMAGE_BROKER, IMAGE_SIDECAR, IMAGE_COLLECTOR  the images, by digest (…@sha256:…); staging and production need them
#   SINCE    without a cluster: the revision to compare with (the newest tag, or else HEAD)
#   CONFIRM  yes does not ask
# Without a cluster it says what it would change of what SINCE rendered, and does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
overlay=${1:-}
[[ -n $overlay && -d k8s/overlays/$overlay ]] || { echo "which one? $(ls k8s/overlays | tr '\n' ' ')" >&2; exit 64; }
kubectl=${KUBECTL:-$(command -v kubectl || echo .venv/bin/kubectl)}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
rendered=$place/rendered.yaml

# The overlay's own names of the images, each replaced by what the environment gives.
images() {
  local pair variable name
  for pair in IMAGE_BROKER=broker IMAGE_SIDECAR=sidecar IMAGE_COLLECTOR=otelcol-broker; do
    variable=${pair%%=*} name=${pair#*=}
    [[ -n ${!variable:-} ]] || continue
    [[ ${!variable} =~ ^[^@[:space:]\|]+@sha256:[0-9a-f]{64}$ ]] || { echo "$variable is no image by digest (NAME@sha256: and 64 hex digits): ${!variable}" >&2; return 64; }
    printf 's|^( *image: )[^ ]*/%s(:[^ ]*)?$|\\1%s|\n' "$name" "${!variable}"
  done
}
images >"$place/images.sed"
render() { "$kubectl" kustomize "$1/k8s/overlays/$overlay" | sed -E -f "$place/images.sed"; }
render . >"$rendered"
objects() { awk '$1 == "kind:" && /^kind/ { kind = $2 } /^metadata:/ { inside = 1 } inside && $1 == "name:" && /^  name/ { print "  " kind "/" $2; inside = 0 }' "$rendered"; }
unpinned=$(sed -n 's/^ *image: //p' "$rendered" | grep -v '@sha256:' | sort -u || true)

context=$("$kubectl" config current-context 2>/dev/null || true)
if [[ -z $context ]]; then
  since=${SINCE:-$(git describe --tags --abbrev=0 2>/dev/null || echo HEAD)}
  echo "no cluster is selected; overlay: $overlay; $(objects | wc -l) objects; compared with $since:"
  mkdir "$place/before"
  git archive "$since" k8s otel-collector | tar -x -C "$place/before"
  render "$place/before" >"$place/before.yaml"
  diff -u --label "$since" --label now "$place/before.yaml" "$rendered" && echo "nothing would change"
  [[ -z $unpinned || $overlay == dev ]] || printf 'not by digest, and refused at a cluster: %s\n' $unpinned
  echo "nothing was done: kubectl config use-context …"
  exit 0
fi
echo "cluster: $context; overlay: $overlay; $(objects | wc -l) objects"
if [[ -n $unpinned && $overlay != dev ]]; then
  printf '%s is deployed by digest only: give IMAGE_BROKER, IMAGE_SIDECAR and IMAGE_COLLECTOR; these are tags:\n%s\n' "$overlay" "$unpinned" >&2
  exit 64
fi
namespace=$(awk '/^  namespace: / { print $2; exit }' "$rendered")
status=0
if found=$("$kubectl" get namespace "$namespace" --ignore-not-found -o name) && [[ -z $found ]]; then
  # A server cannot compare what lies in a namespace that it does not have.
  echo "namespace $namespace is not there yet; all of this would be created:"
  objects
else
  "$kubectl" diff --server-side --field-manager=deploy -f "$rendered" || status=$?
  case $status in
    0) echo "nothing would change"; exit 0 ;;
    1) ;;
    *) echo "the cluster did not say what would change; nothing was done" >&2; exit "$status" ;;
  esac
fi
if [[ ${CONFIRM:-} != yes ]]; then
  read -r -p "apply this to $context? [yes/no] " answer
  [[ $answer == yes ]] || { echo "nothing was done"; exit 1; }
fi
"$kubectl" apply --server-side --field-manager=deploy -f "$rendered"
if grep -q '^kind: Rollout' "$rendered"; then
  echo "the Rollout brings the preview up and promotes it when its analysis passes:"
  echo "  kubectl argo rollouts get rollout broker -n $namespace --watch"
else
  "$kubectl" -n "$namespace" rollout status deployment/broker --timeout=15m
fi
