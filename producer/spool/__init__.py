"""The spool: events on disk until the sidecar has acknowledged them."""
