"""The sidecar's own metrics."""
