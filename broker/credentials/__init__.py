"""Credentials from the shared secret volume: read, proved by use, applied."""
