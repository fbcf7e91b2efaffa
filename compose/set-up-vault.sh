#!/bin/sh
# Runs at each start, because the development server keeps nothing. Makes the venue's token and an API key, unless the volume has them.
set -eu
umask 0077
export BAO_ADDR=https://openbao:8200 BAO_CACERT=/run/vault/vault-ca.pem
until bao status >/dev/null 2>&1; do sleep 0.2; done
random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }
cd /run/vault
[ -s venue-token ] || random >venue-token
[ -s api-key ] || random >api-key
hash=$(tr -d '\n' <api-key | sha256sum | cut -d' ' -f1)
bao kv put -mount=secret broker/venue token=@venue-token account_id=101-004-1234567-001 >/dev/null
printf '{"keys":[{"id":"development","sha256":"%s","scopes":["read","trade","admin"]}]}' "$hash" |
  bao kv put -mount=secret broker/api-keys - >/dev/null
bao policy write broker-sidecar /policies/broker-sidecar.hcl >/dev/null
bao auth enable approle >/dev/null 2>&1 || true
bao write auth/approle/role/broker token_policies=broker-sidecar token_ttl=20m token_max_ttl=24h >/dev/null
rm -f role-id secret-id
bao read -field=role_id auth/approle/role/broker/role-id >role-id
bao write -f -field=secret_id auth/approle/role/broker/secret-id >secret-id
chmod 0400 role-id secret-id venue-token api-key
