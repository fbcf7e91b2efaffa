"""The sidecar's own metrics: one table, read from one snapshot of the process."""
