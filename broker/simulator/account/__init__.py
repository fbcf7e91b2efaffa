"""One simulated account: orders, trades, positions and the transaction log."""
