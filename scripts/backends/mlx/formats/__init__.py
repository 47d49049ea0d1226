"""The MLX formats: one module for each method, which registers itself."""
