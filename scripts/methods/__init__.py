"""Quantisation methods as pure kernels: tensors in, integer codes and scales out."""
