"""Weights in MLX's affine groups, for mlx-lm on Apple silicon."""
