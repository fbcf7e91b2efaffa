"""A v20 server: the embedded venue. `python -m broker.simulator` runs it; `Simulator` runs it inside a test."""
