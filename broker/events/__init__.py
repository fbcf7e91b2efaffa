"""Event types that the broker emits, and their declarations."""
