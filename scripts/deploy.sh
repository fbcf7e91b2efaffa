#!/usr/bin/env bash
# Shows what a deployment would change, asks, and does it: deploy.sh dev|staging|production. CONFIRM=yes does not ask.
set -euo pipefail
cd "$(dirname "$0")/.."
overlay=${1:-}
[[ -d k8s/overlays/$overlay && -n $overlay ]] || { echo "which one? $(ls k8s/overlays | tr '\n' ' ')" >&2; exit 64; }
kubectl=${KUBECTL:-$(command -v kubectl || echo .venv/bin/kubectl)}
rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
"$kubectl" kustomize "k8s/overlays/$overlay" >"$rendered"

context=$("$kubectl" config current-context 2>/dev/null || true)
[[ -n $context ]] || { echo "no cluster is selected: kubectl config use-context …" >&2; exit 69; }
echo "cluster: $context; overlay: $overlay; $(grep -c '^kind:' "$rendered") objects"
status=0
"$kubectl" diff --server-side --field-manager=deploy -f "$rendered" || status=$?
case $status in
  0) echo "nothing would change"; exit 0 ;;
  1) ;;
  *) echo "the cluster did not say what would change; nothing was done" >&2; exit "$status" ;;
esac
if [[ ${CONFIRM:-} != yes ]]; then
  read -r -p "apply this to $context? [yes/no] " answer
  [[ $answer == yes ]] || { echo "nothing was done"; exit 1; }
fi
"$kubectl" apply --server-side --field-manager=deploy -f "$rendered"
if grep -q '^kind: Rollout' "$rendered"; then
  echo "the Rollout brings the preview up and promotes it when its analysis passes:"
  echo "  kubectl argo rollouts get rollout broker -n broker --watch"
else
  "$kubectl" -n broker rollout status deployment/broker --timeout=15m
fi
