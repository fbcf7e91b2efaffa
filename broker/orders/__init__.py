"""The order path: life-cycle, journal, outcomes, risk."""
