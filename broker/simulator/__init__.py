"""A v20 server: the embedded venue."""
