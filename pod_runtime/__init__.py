"""Run loop, configuration, logging and file framing, imported by broker, sidecar and producer alike."""
