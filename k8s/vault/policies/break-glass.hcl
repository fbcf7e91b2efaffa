# Emergency access to the broker's secrets. Its tokens are short-lived and not renewable, and each use raises an alert.

path "secret/data/broker/*" {
  capabilities = ["create", "read", "update", "patch", "delete"]
}
path "secret/metadata/broker/*" {
  capabilities = ["read", "list"]
}
path "secret/undelete/broker/*" {
  capabilities = ["update"]
}
path "database/creds/broker" {
  capabilities = ["read"]
}
path "sys/leases/revoke-prefix/database/creds/broker" {
  capabilities = ["update", "sudo"]
}
path "sys/leases/lookup/database/creds/broker/*" {
  capabilities = ["list", "sudo"]
}
path "pki/issue/broker" {
  capabilities = ["update"]
}
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
