"""Events: their declarations, the emitter and the stream that carries them to the sidecar."""
