"""Of `scripts/tuning`."""
