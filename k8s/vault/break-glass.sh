#!/usr/bin/env bash
# Emergency access to the broker's secrets, by two people.
#
#   break-glass.sh grant --reason TEXT [--for 30m]   a grantor; prints a wrapping token for the other person, and
#                                                    the accessor that ends it early
#   break-glass.sh open WRAPPING_TOKEN               the other person; prints the token once
#   break-glass.sh end ACCESSOR                      the grantor; it ends by itself at its time
#   break-glass.sh uses AUDIT_LOG                    what was done with such tokens, from the server's audit log
#
# The reason stands in the token's metadata, which the audit log shows with every use. Every use raises an alert.
set -euo pipefail
cli=${CLI:-$(command -v vault || command -v bao)}

grant() {
  local reason='' period=30m
  while (($#)); do
    case $1 in
      --reason) reason=$2 ;;
      --for) period=$2 ;;
      *) echo "unknown option $1" >&2; exit 64 ;;
    esac
    shift 2
  done
  [[ -n $reason ]] || { echo "a reason is required: --reason TEXT" >&2; exit 64; }
  "$cli" token create -role=break-glass -wrap-ttl=10m -ttl="$period" -explicit-max-ttl="$period" \
    -metadata=reason="$reason" -display-name=break-glass -format=json |
    jq '{wrapping_token: .wrap_info.token, accessor: .wrap_info.wrapped_accessor, wrapped_for_s: .wrap_info.ttl}'
}

case ${1:-} in
  grant) shift; grant "$@" ;;
  open) VAULT_TOKEN=$2 BAO_TOKEN=$2 "$cli" unwrap -field=token ;;
  end) "$cli" token revoke -accessor "$2" ;;
  uses)
    jq -c 'select(.type == "request" and ((.auth.policies // []) | index("break-glass")))
      | {time, operation: .request.operation, path: .request.path, reason: .auth.metadata.reason,
         request: .request.id, from: .request.remote_address}' "$2"
    ;;
  *) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 64 ;;
esac
