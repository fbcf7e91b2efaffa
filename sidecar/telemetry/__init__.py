"""Model, resource and settings that the rooms of the telemetry path share."""
