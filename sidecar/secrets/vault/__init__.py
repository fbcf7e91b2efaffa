"""Requests to Vault: client, answers, secrets engines."""
