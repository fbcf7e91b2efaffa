#!/bin/sh
# Installs the templates: components first, then the index template that is composed of them. A second run updates them.
# ELASTICSEARCH_URL, and curl's options for the login as CURL_OPTIONS (for example: --cacert /ca.crt --netrc-file /netrc).
set -eu
cd "$(dirname "$0")"
put() {
  # shellcheck disable=SC2086 # several options in one variable
  curl --fail-with-body --silent --show-error --retry 60 --retry-all-errors --retry-delay 5 ${CURL_OPTIONS:-} \
    -X PUT "$ELASTICSEARCH_URL/$1" -H 'Content-Type: application/json' --data-binary "@$2"
  echo
}
for file in *@*.json; do
  put "_component_template/${file%.json}" "$file"
done
put _index_template/broker-logs broker-logs.json
put _index_template/broker-audit broker-audit.json
