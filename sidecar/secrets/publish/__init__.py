"""Publication of secrets as one atomic directory swap."""
