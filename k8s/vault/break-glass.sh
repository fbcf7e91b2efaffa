#!/usr/bin/env bash
# Emergency access to the broker's secrets, by two people.
#
#   break-glass.sh grant --reason TEXT [--for 30m] [--unalarmed]
#                                                    a grantor; prints a wrapping token for the other person, and
#                                                    the accessor that ends it early
#   break-glass.sh open WRAPPING_TOKEN               the other person; prints the token once
#   break-glass.sh end ACCESSOR                      the grantor; else the token ends by itself
#   break-glass.sh uses AUDIT_LOG                    the uses of such tokens, from the server's audit log
#   break-glass.sh report AUDIT_LOG                  raises an alert for each used token; run it each minute
#
# The token's metadata has the reason, and the audit log shows it with every use. A grant needs ALERTMANAGER_URL: it
# raises the alert BreakGlassUsed before it prints the token, and revokes the token if the alert fails. --unalarmed
# grants where no Alertmanager can be reached: then somebody must be told by other means.
#
# The grantor holds the wrapping token, and so could open it alone. Its use still shows in the audit log, and the second
# person finds it opened. Where that is not enough, let two people approve: control groups (Vault Enterprise), or give
# the grantor's login as two shares.
set -euo pipefail
cli=${CLI:-$(command -v vault || command -v bao)}

# Alertmanager's API v2. From 0.30 on it reads details for PagerDuty as YAML, where "a: b" is an object and " #" ends the
# text: the reason is shown without either.
raise_alert() {
  local reason=$1 what=$2 subject=$3
  jq -n --arg reason "$reason" --arg what "$what" --arg subject "$subject" '[{
      labels: {alertname: "BreakGlassUsed", severity: "page", team: "platform", namespace: "broker", subject: $subject},
      annotations: {summary: "Emergency access to the secrets: \($what)", description: "The reason given is \($reason | gsub(":(?=\\s|$)"; " -") | gsub("(?<=\\s)#"; ""))",
        runbook_url: "https://runbooks.example.internal/broker/break-glass", dashboard_url: ""},
      endsAt: (now + 3600 | todate)}]' |
    curl --fail --silent --show-error --max-time 10 -H 'Content-Type: application/json' -d @- \
      "${ALERTMANAGER_URL%/}/api/v2/alerts" >/dev/null
}

# The server's own lines are in the same output as its audit log: what is not JSON is passed over.
uses() {
  [[ ! -s $1 ]] || jq -Rne '[inputs | fromjson? | objects | select(.type == "request" or .type == "response")] | length > 0' \
    "$1" >/dev/null || { echo "$1 has no record of an audit device" >&2; exit 65; }
  jq -Rc 'fromjson? | objects | select(.type == "request" and ((.auth.policies // []) | index("break-glass")))
    | {time, operation: .request.operation, path: .request.path, reason: .auth.metadata.reason, accessor: .auth.accessor,
       request: .request.id, from: .request.remote_address}' "$1"
}

# One alert for each token, so that many uses of it make one page, and a reason that is given again makes another.
report() {
  local all used
  all=$(uses "$1")
  [[ -z $all ]] || jq -c '[.accessor, .reason]' <<<"$all" | sort -u | while IFS= read -r used; do
    raise_alert "$(jq -r '.[1]' <<<"$used")" 'a token is in use' "$(jq -r '.[0]' <<<"$used" | digest)"
  done
}

# A label must not show an accessor, with which a grantor could end the token. The audit log has it hashed already.
digest() { sha256sum | cut -c -16; }

seconds_of() {
  [[ $1 =~ ^([1-9][0-9]{0,6})([smh]?)$ ]] || return 1
  case ${BASH_REMATCH[2]} in
    h) echo $((BASH_REMATCH[1] * 3600)) ;;
    m) echo $((BASH_REMATCH[1] * 60)) ;;
    *) echo "${BASH_REMATCH[1]}" ;;
  esac
}

# The server calls the revocation of an unknown accessor a success.
end() {
  "$cli" token lookup -accessor "$1" >/dev/null || { echo "no living token has the accessor $1; nothing was ended" >&2; exit 66; }
  "$cli" token revoke -accessor "$1"
}

grant() {
  local reason='' period=30m seconds alarmed=1 granted accessor
  while (($#)); do
    case $1 in
      --reason) reason=${2:-}; shift ;;
      --for) period=${2:-}; shift ;;
      --unalarmed) alarmed=0 ;;
      *) echo "unknown option $1" >&2; exit 64 ;;
    esac
    shift
  done
  seconds=$(seconds_of "$period") || { echo "--for must be a time such as 30m or 1h" >&2; exit 64; }
  ((seconds <= 3600)) || { echo "--for: the role break-glass gives at most 1h (token_explicit_max_ttl)" >&2; exit 64; }
  [[ -n $reason ]] || { echo "a reason is required: --reason TEXT" >&2; exit 64; }
  if ((alarmed)) && [[ -z ${ALERTMANAGER_URL:-} ]]; then
    echo "ALERTMANAGER_URL is not set, so nobody would learn of this grant; set it, or give --unalarmed and tell the platform team" >&2
    exit 64
  fi
  granted=$("$cli" token create -role=break-glass -wrap-ttl=10m -ttl="$period" -explicit-max-ttl="$period" \
    -metadata=reason="$reason" -display-name=break-glass -format=json)
  accessor=$(jq -r '.wrap_info.wrapped_accessor' <<<"$granted")
  if ((alarmed)) && ! raise_alert "$reason" "granted to a second person for $period" "$(digest <<<"$accessor")"; then
    # Nobody has seen the wrapping token: if this fails, too, the token ends unopened.
    "$cli" token revoke -accessor "$accessor" >&2 || true
    echo "nobody could be alarmed, so nothing is granted" >&2
    exit 69
  fi
  jq '{wrapping_token: .wrap_info.token, accessor: .wrap_info.wrapped_accessor, wrapped_for_s: .wrap_info.ttl}' <<<"$granted"
}

case ${1:-} in
  grant) shift; grant "$@" ;;
  open) VAULT_TOKEN=$2 BAO_TOKEN=$2 "$cli" unwrap -field=token ;;
  end) end "$2" ;;
  uses) uses "$2" ;;
  report) report "$2" ;;
  *) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 64 ;;
esac
