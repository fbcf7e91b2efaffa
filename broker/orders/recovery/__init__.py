"""Reconciliation with the venue: catch-up, unknown orders, periodic comparison."""
