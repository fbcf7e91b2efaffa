"""OpenTelemetry's API as a front of the emitter."""
