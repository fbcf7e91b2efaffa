"""Model, resource and settings that all packages of the telemetry path share."""
