"""The HTTP order API."""
