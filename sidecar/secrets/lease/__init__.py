"""Leases: schedule, renewal, revocation, and their record on disk."""
