"""JSON of v20 that needs no account: refusals, order requests, candles, order books."""
