"""One simulated account: orders, trades, positions, the transaction log, and their JSON."""
