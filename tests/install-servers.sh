#!/usr/bin/env bash
# Installs the real servers that the tests use. Debian: as root, from its packages. Running it again changes nothing.
set -euo pipefail
declare -A provides=(
  [postgresql]='/usr/lib/postgresql/*/bin/postgres'
  [prometheus]='/usr/bin/prometheus'
  [chromium]='/usr/bin/chromium'
  [jq]='/usr/bin/jq'
  [curl]='/usr/bin/curl'
  [gcc]='/usr/bin/cc'
  [libc6-dev]='/usr/include/stdio.h'
  [libfaketime]='/usr/lib/*/faketime/libfaketimeMT.so.1'
  [iproute2]='/usr/sbin/ip'
  [iptables]='/usr/sbin/iptables'
  [procps]='/usr/sbin/sysctl'
  [prometheus-alertmanager]='/usr/bin/prometheus-alertmanager'
)
missing=()
for package in "${!provides[@]}"; do
  compgen -G "${provides[$package]}" >/dev/null || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi
for script in tests/install-*-servers.sh; do
  if [[ -f $script ]]; then bash "$script"; fi
done
