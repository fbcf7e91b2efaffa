"""Conditions and the probes that read them."""
