# What the sidecar of a broker pod may do. It has no default policy: what is not named is denied.

path "secret/data/broker/venue" {
  capabilities = ["read"]
}
path "secret/data/broker/api-keys" {
  capabilities = ["read"]
}
# Versions are polled; metadata says nothing of the values.
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
path "transit/decrypt/broker" {
  capabilities = ["update"]
}

# Its own token.
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
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/leases/revoke" {
  capabilities = ["update"]
}
# The token of a killed predecessor, by the accessor in its lease journal: kept until its leases are replaced.
path "auth/token/renew-accessor" {
  capabilities = ["update"]
}
path "auth/token/revoke-accessor" {
  capabilities = ["update"]
}
