"""REST requests to the venue: connections, rate limits, circuit breaker, answers."""
