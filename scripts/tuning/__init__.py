"""Learning scales and norms of a quantised model from the FP16 base, its codes fixed."""
