"""The /metrics page: names, text and handler."""
