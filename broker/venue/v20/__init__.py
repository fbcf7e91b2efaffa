"""The v20 wire format: order requests, transactions, answers, reject reasons."""
