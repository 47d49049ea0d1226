"""Distillation against the FP16 base on the grid that is deployed."""
