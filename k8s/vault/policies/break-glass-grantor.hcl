# Grants break-glass tokens to somebody else: only wrapped, so that opening one twice shows that somebody else had it.

path "auth/token/create/break-glass" {
  capabilities     = ["create", "update"]
  min_wrapping_ttl = "1m"
  max_wrapping_ttl = "15m"
}
path "auth/token/revoke-accessor" {
  capabilities = ["update"]
}
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
