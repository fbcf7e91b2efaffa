"""The telemetry pipeline: events in, metrics and logs out."""
