"""Floating-point arithmetic that gives the same bits on every processor and number of threads."""
