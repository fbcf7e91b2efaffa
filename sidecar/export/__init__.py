"""OTLP export of metrics and log records."""
