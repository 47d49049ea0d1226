"""Compiled loops of `scripts.methods`."""
