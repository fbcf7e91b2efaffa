"""Order records, their states, and the pure functions that move them."""
