"""The commands of `doit` that this engine adds or replaces."""
