"""Events in, metrics and logs out."""
