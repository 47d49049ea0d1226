"""Measurements made by hand, apart from the build: they print and never assert."""
