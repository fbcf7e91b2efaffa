"""Run loop, configuration, logging and file framing, for broker, sidecar and producer alike."""

VERSION = "0.1.0"
"""The version of the distribution: pyproject.toml reads it from here."""
