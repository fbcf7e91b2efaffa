"""Steps of the history's schema."""
