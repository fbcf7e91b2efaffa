# Writes new versions of the broker's secrets. Cannot read the venue's token, old or new.

path "secret/data/broker/venue" {
  capabilities = ["create", "update", "patch"]
}
path "secret/metadata/broker/venue" {
  capabilities = ["read"]
}
# This secret holds digests of keys, no keys.
path "secret/data/broker/api-keys" {
  capabilities = ["create", "read", "update"]
}
path "secret/metadata/broker/api-keys" {
  capabilities = ["read"]
}
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
