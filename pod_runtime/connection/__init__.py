"""Connections that this process opens."""
