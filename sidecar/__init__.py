"""The process beside the broker: telemetry, secrets, health and console. It knows nothing of trading."""
