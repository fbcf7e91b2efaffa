"""Leases and sessions: schedule, renewal, revocation, and their record on disk."""
