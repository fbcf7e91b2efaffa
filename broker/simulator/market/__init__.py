"""Simulated market: instruments and their moving prices. It knows nothing of accounts or of JSON."""
