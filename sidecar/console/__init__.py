"""The status page and the commands that ask a running sidecar."""
