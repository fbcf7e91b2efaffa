"""Grafana dashboards, made with its foundation SDK."""
