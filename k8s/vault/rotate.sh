#!/usr/bin/env bash
# Rotates the secrets that people hold: the venue's token, and the API keys of the order API's callers.
#
#   rotate.sh venue TOKEN_FILE             a new token of the venue, made on its own site
#   rotate.sh add-key ID SCOPES KEY_FILE   a new API key for a caller (scopes: read,trade,admin), written to KEY_FILE
#   rotate.sh drop-key ID                  removes a caller's key
#
# Order: write the new one; wait until `sidecar secrets` shows its generation acknowledged; only then end the old one
# at the venue (or with drop-key). A concurrent change fails (check-and-set); run it again.
set -euo pipefail
cli=${CLI:-$(command -v vault || command -v bao)}
umask 077

# The current version; a patch of one that is deleted would fail without a word.
version() {
  local metadata
  metadata=$("$cli" kv metadata get -mount=secret -format=json "$1")
  jq -er --arg name "$1" '.data | (.current_version | tostring) as $now | .versions[$now] as $found
    | if $found.destroyed or ($found.deletion_time // "") != "" then
        error("\($name): version \($now) is deleted; undelete it first: kv undelete -mount=secret -versions=\($now) \($name)")
      else $now end' <<<"$metadata"
}

keys() { "$cli" kv get -mount=secret -format=json broker/api-keys | jq .data.data; }

store_keys() { # version; the document on standard input
  "$cli" kv put -mount=secret -cas="$1" broker/api-keys - >/dev/null
}

case ${1:-} in
  venue)
    token=$(tr -d '[:space:]' <"$2")
    [[ -n $token ]] || { echo "$2 is empty" >&2; exit 66; }
    now=$(version broker/venue)
    jq -n --arg token "$token" '{token: $token}' |
      "$cli" kv patch -method=patch -mount=secret -cas="$now" broker/venue - >/dev/null
    echo "broker/venue: version $((now + 1))"
    ;;
  add-key)
    now=$(version broker/api-keys)
    key=$(openssl rand -base64 33 | tr '+/' '-_')
    digest=$(printf %s "$key" | sha256sum | cut -d' ' -f1)
    keys | jq --arg id "$2" --arg scopes "$3" --arg digest "$digest" \
      '.keys = ([.keys[] | select(.id != $id)] + [{id: $id, sha256: $digest, scopes: ($scopes / ",")}])' |
      store_keys "$now"
    printf '%s\n' "$key" >"$4"
    echo "broker/api-keys: version $((now + 1)); the key of $2 is in $4"
    ;;
  drop-key)
    now=$(version broker/api-keys)
    keys | jq -e --arg id "$2" 'any(.keys[]; .id == $id)' >/dev/null ||
      { echo "broker/api-keys has no key $2; nothing was dropped" >&2; exit 66; }
    keys | jq --arg id "$2" '.keys |= [.[] | select(.id != $id)]' | store_keys "$now"
    echo "broker/api-keys: version $((now + 1))"
    ;;
  *) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 64 ;;
esac
