#!/usr/bin/env bash
# Emergency access to the broker's secrets, by two people.
#
#   break-glass.sh grant --reason TEXT [--for 30m]   a grantor; prints a wrapping token for the other person, and
#                                                    the accessor that ends it early
#   break-glass.sh open WRAPPING_TOKEN               the other person; prints the token once
#   break-glass.sh end ACCESSOR                      the grantor; else the token ends by itself
#   break-glass.sh uses AUDIT_LOG                    the uses of such tokens, from the server's audit log
#   break-glass.sh report AUDIT_LOG                  raises an alert for each used token; run it each minute
#
# The token's metadata has the reason, and the audit log shows it with every use. With ALERTMANAGER_URL set, a grant
# raises the alert BreakGlassUsed before it issues the token, and issues none if the alert fails.
set -euo pipefail
cli=${CLI:-$(command -v vault || command -v bao)}

# Alertmanager's API v2; `keep` is the life of an alert that nobody repeats.
raise_alert() {
  local reason=$1 what=$2 subject=$3
  jq -n --arg reason "$reason" --arg what "$what" --arg subject "$subject" '[{
      labels: {alertname: "BreakGlassUsed", severity: "page", team: "platform", namespace: "broker", subject: $subject},
      annotations: {summary: "Emergency access to the secrets: \($what)", description: "Reason given: \($reason)",
        runbook_url: "https://runbooks.example.internal/broker/break-glass", dashboard_url: ""},
      endsAt: (now + 3600 | todate)}]' |
    curl --fail --silent --show-error --max-time 10 -H 'Content-Type: application/json' -d @- \
      "${ALERTMANAGER_URL%/}/api/v2/alerts" >/dev/null
}

uses() {
  jq -c 'select(.type == "request" and ((.auth.policies // []) | index("break-glass")))
    | {time, operation: .request.operation, path: .request.path, reason: .auth.metadata.reason,
       request: .request.id, from: .request.remote_address}' "$1"
}

# One alert for each reason, so that many uses of a token make one page.
report() {
  uses "$1" | jq -r '.reason' | sort -u | while IFS= read -r reason; do
    raise_alert "$reason" 'a token is in use' "$reason"
  done
}

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
  [[ -z ${ALERTMANAGER_URL:-} ]] || raise_alert "$reason" "granted to a second person for $period" "$reason"
  "$cli" token create -role=break-glass -wrap-ttl=10m -ttl="$period" -explicit-max-ttl="$period" \
    -metadata=reason="$reason" -display-name=break-glass -format=json |
    jq '{wrapping_token: .wrap_info.token, accessor: .wrap_info.wrapped_accessor, wrapped_for_s: .wrap_info.ttl}'
}

case ${1:-} in
  grant) shift; grant "$@" ;;
  open) VAULT_TOKEN=$2 BAO_TOKEN=$2 "$cli" unwrap -field=token ;;
  end) "$cli" token revoke -accessor "$2" ;;
  uses) uses "$2" ;;
  report) report "$2" ;;
  *) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 64 ;;
esac
