"""The relay that pages when the Watchdog alert falls silent; it runs in the cluster."""
