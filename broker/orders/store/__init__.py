"""The order store: journal on disk, index in memory."""
