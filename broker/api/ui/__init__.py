"""A page for people beside the order API."""
