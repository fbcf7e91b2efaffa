"""Streams of the venue: prices and transactions."""
