"""The page of `doit demo`."""
