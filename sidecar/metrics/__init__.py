"""Metrics room: event columns into series, exactly once."""
