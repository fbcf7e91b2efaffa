"""OANDA v20 adapter: wire forms, requests, streams."""
