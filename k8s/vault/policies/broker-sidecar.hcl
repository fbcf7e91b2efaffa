# Rights of the sidecar of a broker pod. It has no default policy, so Vault denies everything else.

path "secret/data/broker/venue" {
  capabilities = ["read"]
}
path "secret/data/broker/api-keys" {
  capabilities = ["read"]
}
# The sidecar polls versions; metadata does not contain the values.
path "secret/metadata/broker/venue" {
  capabilities = ["read"]
}
path "secret/metadata/broker/api-keys" {
  capabilities = ["read"]
}

path "database/creds/broker" {
  capabilities = ["read"]
}
path "pki/issue/broker" {
  capabilities = ["update"]
}

# The sidecar's own token.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# Leases by id, which only their holder knows.
path "sys/leases/lookup" {
  capabilities = ["update"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/leases/revoke" {
  capabilities = ["update"]
}
# The token of a killed predecessor, by the accessor in its lease journal: the sidecar keeps it until it has replaced its leases.
path "auth/token/renew-accessor" {
  capabilities = ["update"]
}
path "auth/token/revoke-accessor" {
  capabilities = ["update"]
}
