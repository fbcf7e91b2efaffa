"""The simulated market: instruments, prices, candles, order books."""
