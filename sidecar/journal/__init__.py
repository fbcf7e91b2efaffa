"""Journal room: batches on disk until their metrics and logs are safe elsewhere."""
