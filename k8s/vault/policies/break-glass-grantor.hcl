# Grants break-glass tokens to somebody else: only wrapped, so that opening one twice shows that somebody else had it.

path "auth/token/create/break-glass" {
  capabilities     = ["create", "update"]
  min_wrapping_ttl = "1m"
  max_wrapping_ttl = "15m"
}
# Shows that an accessor is one before it is revoked.
path "auth/token/lookup-accessor" {
  capabilities = ["update"]
}
path "auth/token/revoke-accessor" {
  capabilities = ["update"]
}
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
