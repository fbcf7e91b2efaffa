#!/usr/bin/env bash
# Makes the collector (Go) and the Elasticsearch node (Java) that the tests use, in .cache, once for each set of inputs.
# Needs go; installs a JDK and Maven from Debian's packages where they are missing. Running it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v go >/dev/null; then
  otel-collector/build.sh
else
  echo "go is not on this machine: the tests that need the collector will say so" >&2
fi

place=$PWD/.cache/elasticsearch
inputs=$(find tests/search_engine -type f ! -name '*.py' ! -name '*.pyc' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
[[ $(cat "$place/inputs" 2>/dev/null) == "$inputs" ]] && exit 0
missing=()
command -v mvn >/dev/null || missing+=(maven)
command -v javac >/dev/null || missing+=(openjdk-17-jdk-headless)
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi
echo "fetching the Elasticsearch node's jars"
rm -rf "$place"
mkdir -p "$place/server" "$place/modules/transport-netty4" "$place/classes"
mvn -q -B -f tests/search_engine/pom.xml dependency:copy-dependencies -DoutputDirectory="$place/server" >"$place/build.log" 2>&1 \
  || { tail -n 20 "$place/build.log" >&2; exit 1; }
# Elasticsearch loads Netty as a module, with a class loader of its own.
mv "$place"/server/netty-*.jar "$place"/server/transport-netty4-*.jar "$place/modules/transport-netty4/"
cp tests/search_engine/plugin-descriptor.properties "$place/modules/transport-netty4/"
javac -cp "$place/server/*" -d "$place/classes" tests/search_engine/EsNode.java
echo "$inputs" >"$place/inputs"
