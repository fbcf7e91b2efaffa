"""The gRPC stream that carries events to the sidecar."""
