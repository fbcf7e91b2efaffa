"""Requests that reach a standby: forwarded to the owner of the account, or refused."""
