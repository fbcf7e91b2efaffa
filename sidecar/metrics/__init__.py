"""Aggregation of events into series."""
