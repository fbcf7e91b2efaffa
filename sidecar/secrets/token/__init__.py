"""Vault tokens: login, renewal, replacement."""
