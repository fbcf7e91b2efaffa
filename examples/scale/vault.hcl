# One of five servers with integrated storage (Raft); any three are a majority. Sidecars use the service that points to
# the active server, because they follow no redirect.
ui            = false
cluster_addr  = "https://NODE.vault-internal:8201"
api_addr      = "https://NODE.vault-internal:8200"

listener "tcp" {
  address       = "[::]:8200"
  tls_cert_file = "/etc/vault/tls.crt"
  tls_key_file  = "/etc/vault/tls.key"
}

storage "raft" {
  path    = "/vault/data"
  node_id = "NODE"
  retry_join {
    leader_api_addr     = "https://vault-0.vault-internal:8200"
    leader_ca_cert_file = "/etc/vault/ca.crt"
  }
}

telemetry {
  prometheus_retention_time = "30s"
  disable_hostname          = true
}
