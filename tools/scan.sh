#!/usr/bin/env bash
# Bills of materials, and scans for secrets, misconfiguration and vulnerabilities, into .cache/scan. Ends with 1 where a
# scan found something; a scan that could not run is listed as NOT RUN, never as clean, and fails with STRICT=1.
set -uo pipefail
. "$(dirname "$0")/container-tool.sh"
cd "$root"
place=.cache/scan
mkdir -p "$place"
tag=${TAG:-dev}
failed=0 skipped=0
row() { printf '%-34s %s\n' "$1" "$2"; }
not_run() { row "$1" "NOT RUN: $2"; skipped=1; }
found() { row "$1" "FOUND: $2"; failed=1; }

tools=$place/tools
if ! cmp -s requirements/scan.txt "$tools/requirements.txt"; then
  rm -rf "$tools"
  .venv/bin/python -m venv "$tools" && "$tools/bin/pip" install -q --disable-pip-version-check --require-hashes -r requirements/scan.txt >&2 \
    && cp requirements/scan.txt "$tools/requirements.txt" || rm -rf "$tools"
fi

for name in broker sidecar otel-collector; do
  image=${REPOSITORY:-localhost}/$name:$tag
  if ! "$tool" image inspect "$image" >/dev/null 2>&1; then not_run "bill of materials, $name" "no image $image: make images"; continue; fi
  if [[ ! -x $tools/bin/syft ]]; then not_run "bill of materials, $name" "syft is not to be had"; continue; fi
  rm -f "$place/$name.tar"
  "$tool" save -o "$place/$name.tar" "$image" >/dev/null 2>&1
  if "$tools/bin/syft" scan -q "docker-archive:$place/$name.tar" -o "cyclonedx-json=$place/$name.cdx.json" 2>"$place/$name.syft.log"; then
    row "bill of materials, $name" "$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["components"]), "components")' "$place/$name.cdx.json"), $place/$name.cdx.json"
  else
    not_run "bill of materials, $name" "$(tail -n 1 "$place/$name.syft.log")"
  fi
  rm -f "$place/$name.tar"
done

# Rollouts take their pods from the Deployment's template, so the Deployment is what is scanned.
for overlay in dev production; do
  .venv/bin/kubectl kustomize "k8s/overlays/$overlay" >"$place/$overlay.yaml"
done
if [[ -x $tools/bin/checkov ]]; then
  for target in "kubernetes $place/production.yaml" "kubernetes $place/dev.yaml" "dockerfile Dockerfile.broker" "dockerfile Dockerfile.sidecar" "dockerfile Dockerfile.otel-collector"; do
    read -r framework file <<<"$target"
    # --skip-download: nothing is asked of anybody.
    "$tools/bin/checkov" --compact --skip-download --framework "$framework" --config-file tools/checkov.yaml -f "$file" >"$place/checkov.log" 2>&1
    status=$?
    summary=$(grep -m1 'Passed checks' "$place/checkov.log" || true)
    if [[ ! $summary =~ [1-9] ]]; then not_run "misconfiguration, $(basename "$file")" "checkov found nothing to check"
    elif ((status == 0)); then row "misconfiguration, $(basename "$file")" "clean: ${summary%%, Failed*}"; else
      found "misconfiguration, $(basename "$file")" "$summary"; grep -B1 -A1 'FAILED' "$place/checkov.log" | sed 's/^/    /'
    fi
  done
  "$tools/bin/checkov" --compact --quiet --skip-download --framework secrets -d . --skip-path '\.venv|\.cache|tests/|\.git/' >"$place/secrets.log" 2>&1 \
    && row "secrets in the tree" "clean" || { found "secrets in the tree" "$(grep -m1 'Passed checks' "$place/secrets.log")"; grep -E '^Check:|File:' "$place/secrets.log" | sed 's/^/    /'; }
else
  not_run "misconfiguration" "checkov is not to be had"
  not_run "secrets in the tree" "checkov is not to be had"
fi
if [[ -x .venv/bin/hadolint ]]; then
  .venv/bin/hadolint Dockerfile.* && row "Dockerfiles" "clean" || found "Dockerfiles" "see above"
else
  not_run "Dockerfiles" "hadolint is not installed: make check"
fi

# A scanner without a database of vulnerabilities calls everything clean.
if command -v grype >/dev/null && grype db status >/dev/null 2>&1; then
  for name in broker sidecar otel-collector; do
    [[ -f $place/$name.cdx.json ]] || continue
    grype -q --fail-on high --only-fixed "sbom:$place/$name.cdx.json" && row "vulnerabilities, $name" "none that is high and has a fix" || found "vulnerabilities, $name" "see above"
  done
else
  not_run "vulnerabilities" "no grype with a database on this machine"
fi
if ((skipped)); then echo "some scans did not run: this is no clean bill"; [[ ${STRICT:-0} != 1 ]] || failed=1; fi
exit "$failed"
