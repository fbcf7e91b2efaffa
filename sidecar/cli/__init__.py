"""Commands that ask a running sidecar."""
