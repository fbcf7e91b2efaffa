#!/usr/bin/env bash
# Sets a Vault or OpenBao server up for the broker. A second run changes only what differs.
#
# Needs the `vault` or `bao` command, logged in with the right to write policies, mounts and roles.
#   NAMESPACE, SERVICE_ACCOUNT  the account that may log in          (broker, broker)
#   KUBERNETES_HOST             API server that checks their tokens  (https://kubernetes.default.svc)
#   KUBERNETES_CA_FILE          its authority, if the server runs outside that cluster (none: the pod's own)
#   KUBERNETES_REVIEWER_TOKEN_FILE  token of an account that may review tokens (system:auth-delegator); needed outside the cluster: a
#                               pod's own token has the audience vault, which the API server does not accept
#   DATABASE_HOST               host:port of PostgreSQL              (none: no database engine)
#   DATABASE_NAME               database of the order history        (broker)
#   DATABASE_ADMIN              role that makes roles                (vault)
#   DATABASE_ADMIN_PASSWORD_FILE  file with its password; the server replaces it by one that only it knows
#   DATABASE_SSLMODE            (verify-full)
#   PKI_DOMAIN                  domain of certificates               (NAMESPACE.svc)
#   PKI_NAMES                   names of certificates                (broker.PKI_DOMAIN,broker-preview.PKI_DOMAIN)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cli=${CLI:-$(command -v vault || command -v bao)}
namespace=${NAMESPACE:-broker}
service_account=${SERVICE_ACCOUNT:-broker}
domain=${PKI_DOMAIN:-$namespace.svc}

step() { echo "$1/6 $2" >&2; }

enable() { # kind of mount, type, path, options…
  local kind=$1 type=$2 path=$3
  shift 3
  "$cli" "$kind" list | grep "^$path/ " >/dev/null || "$cli" "$kind" enable -path="$path" "$@" "$type"
}

step 1 policies
for file in "$here"/policies/*.hcl; do
  "$cli" policy write "$(basename "$file" .hcl)" "$file"
done

# If a crash interrupts a login, nobody knows the token: it lives two minutes. The sidecar renews each token in its lease
# journal to its `auth.ttl_s`.
token=(token_no_default_policy=true token_ttl=2m token_max_ttl=24h token_type=service)

step 2 "login of pods"
enable auth kubernetes kubernetes
outside=(${KUBERNETES_CA_FILE:+"kubernetes_ca_cert=@$KUBERNETES_CA_FILE" disable_local_ca_jwt=true})
outside+=(${KUBERNETES_REVIEWER_TOKEN_FILE:+"token_reviewer_jwt=@$KUBERNETES_REVIEWER_TOKEN_FILE"})
"$cli" write auth/kubernetes/config \
  kubernetes_host="${KUBERNETES_HOST:-https://kubernetes.default.svc}" "${outside[@]}"
"$cli" write auth/kubernetes/role/broker \
  bound_service_account_names="$service_account" bound_service_account_namespaces="$namespace" \
  audience=vault token_policies=broker-sidecar "${token[@]}"

step 3 values
enable secrets kv-v2 secret

step 4 certificates
enable secrets pki pki -max-lease-ttl=87600h
if ! "$cli" read pki/cert/ca >/dev/null 2>&1; then
  "$cli" write pki/root/generate/internal common_name="broker internal authority" key_type=ec key_bits=256 ttl=87600h
fi
# These names and no others: with a whole domain a pod could get a certificate for any service of the namespace.
"$cli" write pki/roles/broker allowed_domains="${PKI_NAMES:-broker.$domain,broker-preview.$domain}" allow_bare_domains=true \
  allow_subdomains=false allow_localhost=false allow_wildcard_certificates=false allow_ip_sans=false \
  key_type=ec key_bits=256 ttl=24h max_ttl=72h generate_lease=false

step 5 "database logins: ${DATABASE_HOST:-left out, DATABASE_HOST is not set}"
if [[ -n ${DATABASE_HOST:-} ]]; then
  enable secrets database database
  if ! "$cli" read database/config/broker >/dev/null 2>&1; then
    host="$DATABASE_HOST/${DATABASE_NAME:-broker}?sslmode=${DATABASE_SSLMODE:-verify-full}"
    "$cli" write database/config/broker plugin_name=postgresql-database-plugin allowed_roles=broker \
      connection_url="postgresql://{{username}}:{{password}}@$host" \
      username="${DATABASE_ADMIN:-vault}" password=- <"$DATABASE_ADMIN_PASSWORD_FILE"
    "$cli" write -f database/rotate-root/broker
  fi
  "$cli" write database/roles/broker db_name=broker default_ttl=1h max_ttl=24h \
    creation_statements=@"$here/database/create.sql" revocation_statements=@"$here/database/revoke.sql"
fi

step 6 "break-glass and audit"
# Break-glass: a token role, so that a grantor can give exactly these rights and no others.
"$cli" write auth/token/roles/break-glass allowed_policies=break-glass orphan=true renewable=false \
  token_no_default_policy=true token_explicit_max_ttl=1h token_type=service

# Vault configures audit devices by its API, OpenBao by its configuration file (see audit.hcl).
if ! "$cli" audit list 2>/dev/null | grep "^file/ " >/dev/null; then
  "$cli" audit enable file file_path=stdout 2>/dev/null ||
    echo "audit: declare the device in the server's configuration, as in $here/audit.hcl" >&2
fi
