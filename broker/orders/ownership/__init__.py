"""Leadership of an account: one process trades it at a time."""
