"""Vault secrets in a shared directory, kept fresh."""
