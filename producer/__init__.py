"""The producer library: any program's events, on disk before `emit` returns, delivered exactly once."""
