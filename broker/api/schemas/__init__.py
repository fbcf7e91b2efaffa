"""Bodies of requests and responses, and their translation from and to the domain."""
