"""Run loop, configuration, logging and file framing, for broker, sidecar and producer alike."""
