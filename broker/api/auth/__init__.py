"""Authentication of callers: API keys, their scopes and quotas."""
