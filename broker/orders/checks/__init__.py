"""Pre-trade checks, and the prices that orders are judged by."""
