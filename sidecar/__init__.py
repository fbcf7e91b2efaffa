"""Everything that is not trading: telemetry, secrets and probes."""
